"""Printing and writing what a test gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH

from mmaction.datasets import reading_report
from mmaction.distributed.collectives import broadcast_object, gather_objects
from mmaction.errors import TrainingError
from mmaction.evaluation.results import (
    check_dump_file,
    check_out_file,
    write_predictions,
    write_scores,
)
from mmaction.registry import HOOKS
from mmaction.utils.cli import printable
from mmaction.utils.io import file_digest, write_json
from mmaction.utils.metric_names import published_names
from mmaction.utils.plurals import how_many

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['TestResultsHook']


@HOOKS.register_module()
class TestResultsHook(Hook):
    """Print `top1_acc: 0.xxxx` lines and write `metrics.json`, scores and predictions.

    Clips that could not be read are listed at the end and in `metrics.json`.

    Args:
        out: File for the scores of each clip, in the order of the list.
        dump: `.json` or `.pkl` file for a list of dicts with `pred_score`, `pred_label`,
            `gt_label` and the meta data of each clip.
        max_unreadable: Part of the clips, 0 to 1, that may be unreadable.

    Raises:
        TrainingError: After all is written, more clips than that were unreadable.
    """

    __test__ = False  # not a test class of pytest
    priority = 'VERY_LOW'

    def __init__(
        self, out: str | None = None, dump: str | None = None, max_unreadable: float = 0.01
    ) -> None:
        check_out_file(out)
        check_dump_file(dump)
        self.max_unreadable = max_unreadable
        self.out = out
        self.dump = dump
        self._samples: list[dict[str, Any]] = []
        self._unreadable: list[tuple[str, str]] = []
        self._unreadable_clips: set[Any] = set()

    def before_test_epoch(self, runner: ActionRunner) -> None:
        """Forget the samples of an earlier test."""
        self._samples, self._unreadable, self._unreadable_clips = [], [], set()

    def after_test_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Keep the predictions of a batch, where they are asked for."""
        report = reading_report(data_batch)
        self._unreadable += report.unreadable
        self._unreadable_clips |= report.unreadable_clips
        if self.out is None and self.dump is None:
            return
        for sample in outputs or ():
            fields = sample.cpu().to_dict()
            if self.dump is None:
                fields = {'pred_score': fields['pred_score']}
            self._samples.append(fields)

    def after_test_epoch(
        self, runner: ActionRunner, metrics: dict[str, float] | None = None
    ) -> None:
        """Print and write."""
        self._write_samples(runner)
        unreadable = broadcast_object(_merged(gather_objects(self._unreadable)))
        # Samplers may give a clip to two processes: it counts once.
        parts = gather_objects(self._unreadable_clips)
        clips = broadcast_object(len(set().union(*(parts or ()))))
        size = len(runner.test_dataloader.dataset)
        if is_main_process():
            self._write_metrics(runner, metrics or {}, unreadable, clips, size)
        if clips > self.max_unreadable * size:
            raise TrainingError(
                f'{clips} of {size} clips could not be read, more than --max-unreadable '
                f'{self.max_unreadable:g} allows; they are listed in '
                f'{Path(runner.work_dir, "metrics.json")}'
            )

    def _write_metrics(
        self,
        runner: ActionRunner,
        metrics: dict[str, float],
        unreadable: dict[str, str],
        unreadable_clips: int,
        size: int,
    ) -> None:
        named = published_names(metrics)
        named.pop('unreadable', None)  # listed below
        checkpoint = runner._load_from and str(runner._load_from)
        facts = dict(
            config=runner.cfg.filename,
            checkpoint=checkpoint,
            checkpoint_sha256=(
                file_digest(checkpoint) if checkpoint and Path(checkpoint).is_file() else None
            ),
            clips=size,
            unreadable_clips=unreadable_clips,
            unreadable=[dict(file=file, reason=reason) for file, reason in unreadable.items()],
        )
        path = Path(runner.work_dir, 'metrics.json')
        write_json(path, {**named, **facts})
        for name, value in named.items():
            print(f'{name}: {value:.4f}', flush=True)
        if unreadable:
            print(f'{how_many(unreadable_clips, "clip")} could not be read, counted as wrong:')
            for file, reason in unreadable.items():
                print(f'  {printable(file)}: {reason}', flush=True)
        runner.logger.info(f'metrics: {path}')

    def _write_samples(self, runner: ActionRunner) -> None:
        if self.out is None and self.dump is None:
            return
        parts = gather_objects(self._samples)
        self._samples = []
        if parts is None:
            return
        samples = in_list_order(parts, len(runner.test_dataloader.dataset))
        if self.out is not None:
            write_scores([_array(sample['pred_score']) for sample in samples], self.out)
            runner.logger.info(f'scores of {how_many(len(samples), "clip")}: {self.out}')
        if self.dump is not None:
            write_predictions(samples, self.dump)
            runner.logger.info(f'predictions of {how_many(len(samples), "clip")}: {self.dump}')


def _merged(parts: list[list[tuple[str, str]]] | None) -> dict[str, str]:
    return {file: reason for part in parts or () for file, reason in part}


def in_list_order(parts: list[list[Any]], size: int) -> list[Any]:
    """Bring samples of all processes into the order of the list.

    Process r of w has those at r, r + w, r + 2w, ...; what a sampler repeated
    at the end to give all processes equally many is dropped.
    """
    ordered = [
        part[step]
        for step in range(max(len(part) for part in parts))
        for part in parts
        if step < len(part)
    ]
    return ordered[:size]


def _array(score: object) -> Any:
    return score.numpy() if isinstance(score, torch.Tensor) else score
