"""What a run leaves in its work dir besides weights: how it was made, which clips failed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmaction.registry import HOOKS

from ..launch import gather_to_first
from ..provenance import facts_of_run

if TYPE_CHECKING:
    from ..runner import ActionRunner

__all__ = ['ProvenanceHook', 'UnreadableClipsHook']


@HOOKS.register_module()
class ProvenanceHook(Hook):
    """Write `run.json` beside the log: command, versions, commit, seed, clips per split."""

    priority = 'VERY_HIGH'

    def before_run(self, runner: ActionRunner) -> None:
        """Write it."""
        if not is_main_process():
            return
        splits = {name: dataclasses.asdict(facts) for name, facts in runner.split_facts.items()}
        facts = facts_of_run(
            config=runner.cfg.filename,
            seed=runner.seed,
            processes=runner.world_size,
            splits=splits,
        )
        path = Path(runner.log_dir, 'run.json')
        path.write_text(json.dumps(facts, indent=2) + '\n', encoding='utf-8')


@HOOKS.register_module()
class UnreadableClipsHook(Hook):
    """Count clips that could not be read, and list them in `unreadable_clips.txt`.

    Training replaces such a clip (meta data `replaced`), testing counts it as
    wrong (`unreadable`).
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._count = 0
        self._told: set[str] = set()

    def _look(self, batch: Any) -> None:
        samples = batch.get('data_samples') if isinstance(batch, dict) else None
        for sample in samples or ():
            facts = getattr(sample, 'metainfo', {})
            failed = list(facts.get('replaced') or [])
            if 'unreadable' in facts:
                failed.append((facts.get('filename', '?'), facts['unreadable']))
            for file, reason in failed:
                self._count += 1
                self._found[str(file)] = str(reason)

    def _tell(self, runner: ActionRunner, what: str) -> None:
        parts = gather_to_first((self._count, self._found))
        self._count, self._found = 0, {}
        if parts is None:
            return
        count = sum(part[0] for part in parts)
        if not count:
            return
        found = {file: reason for part in parts for file, reason in part[1].items()}
        new = {file: reason for file, reason in found.items() if file not in self._told}
        path = Path(runner.work_dir, 'unreadable_clips.txt')
        with open(path, 'a', encoding='utf-8') as file:
            file.writelines(f'{name}\t{reason}\n' for name, reason in new.items())
        self._told |= set(new)
        first, reason = next(iter(found.items()))
        runner.logger.warning(
            f'{count} clips could not be read and {what}, such as {first} ({reason}); listed in '
            f'{path}'
        )

    def after_train_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the samples of a training batch."""
        self._look(data_batch)

    def after_val_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the samples of a validation batch."""
        self._look(data_batch)

    def after_test_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the samples of a test batch."""
        self._look(data_batch)

    def after_train_epoch(self, runner: ActionRunner) -> None:
        """Tell of the epoch."""
        self._tell(runner, 'were replaced by others')

    def after_val_epoch(self, runner: ActionRunner, metrics: Any = None) -> None:
        """Tell of the validation."""
        self._tell(runner, 'count as wrong')

    def after_test_epoch(self, runner: ActionRunner, metrics: Any = None) -> None:
        """Tell of the test."""
        self._tell(runner, 'count as wrong')
