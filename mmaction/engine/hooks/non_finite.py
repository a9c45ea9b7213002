"""Stopping a run whose loss is no longer a number, with what is needed to see why."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from mmaction.distributed.collectives import any_rank, broadcast_object, gather_objects
from mmaction.engine.optimizers.optim_wrapper import OptimWrapper
from mmaction.engine.step_values import HostCopy, reads_now
from mmaction.errors import TrainingError
from mmaction.registry import HOOKS
from mmaction.utils.io import atomic_path
from mmaction.utils.model_wrapper import bare_model

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['NonFiniteLossHook']


@dataclass
class _Step:
    """A step whose outcome the host may not know yet."""

    number: int
    rate: float
    updates: bool
    """Whether it ends an accumulation window."""
    values: HostCopy
    batch: Any
    losses: dict[str, float] = field(default_factory=dict)


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Tell of updates that were skipped, and stop after several in a row.

    The batch that did it is saved to `nonfinite_step_N_process_R.pth` in the
    work dir (`inputs`, `files`, `labels`, `step`, `lr`, `losses`). Steps are looked at in their
    order as soon as their values have arrived, at the latest at a reading point, where all ranks
    stop together.

    Args:
        patience: Skipped updates in a row after which the run stops.
        patience_fp16: The same for fp16, where a few are how the loss scale is
            found.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, patience: int = 3, patience_fp16: int = 40) -> None:
        self.patience = patience
        self.patience_fp16 = patience_fp16
        self._skipped = 0
        self._waiting: deque[_Step] = deque()
        self._suspect: _Step | None = None
        self._last: _Step | None = None
        self._row = 0

    def before_train(self, runner: ActionRunner) -> None:
        """Count from where a resumed run is."""
        self._skipped = getattr(runner.optim_wrapper, 'skipped', 0)
        modules = bare_model(runner.model).modules()
        norms = [module for module in modules if isinstance(module, _BatchNorm)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def before_train_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Keep BatchNorm's statistics, which a bad batch spoils before the loss is known."""
        self._kept = [buffer.clone() for buffer in self._statistics]

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look whether the updates so far were made.

        Raises:
            TrainingError: `patience` updates in a row were not.
        """
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return
        self._restore_statistics()
        if self._last is None:
            losses = {key: value for key, value in (outputs or {}).items() if 'loss' in key}
            values = HostCopy({**losses, **{_FACT + k: v for k, v in wrapper.step_facts().items()}})
            rate = wrapper.get_lr()['lr'][0]
            step = _Step(runner.iter + 1, rate, wrapper.should_update(), values, data_batch)
            self._waiting.append(step)
        while self._waiting and self._waiting[0].values.arrived():
            self._look_at(self._waiting.popleft(), runner)
        if reads_now(runner, batch_idx):
            self.read_steps(runner)

    def read_steps(self, runner: ActionRunner) -> None:
        """Look at what has not been looked at yet; every rank has to call it."""
        while self._waiting:
            self._look_at(self._waiting.popleft(), runner)
        if self._last is not None:
            self._stop(runner, self._last)

    def after_train(self, runner: ActionRunner) -> None:
        """Look at the last steps, where training has stopped between two reading points."""
        self.read_steps(runner)

    def _restore_statistics(self) -> None:
        """Put statistics that are not finite back, without the host looking at them."""
        real = [buffer for buffer in self._statistics if buffer.is_floating_point()]
        if not real:
            return
        sound = get_total_norm(real, norm_type=1.0).isfinite()
        for buffer, kept in zip(self._statistics, self._kept, strict=True):
            buffer.copy_(torch.where(sound, buffer, kept))

    def _look_at(self, step: _Step, runner: ActionRunner) -> None:
        """Go on counting by one step."""
        if self._last is not None:
            return
        values = step.values.read()
        step.losses = {key: v for key, v in values.items() if not key.startswith(_FACT)}
        if not all(math.isfinite(value) for value in step.losses.values()):
            # An update over several steps is skipped only after the last of them.
            self._suspect = step
        skipped, self._row = (int(values[_FACT + k]) for k in ('skipped', 'skipped_in_a_row'))
        if skipped == self._skipped:
            if step.updates:
                self._suspect = None
            return
        self._skipped = skipped
        scale = values.get(f'{_FACT}loss_scale')
        if scale is not None:
            runner.logger.info(
                f'step {step.number}: gradients overflow in fp16, update skipped '
                f'({skipped} so far), loss scale now {scale:g}'
            )
        else:
            runner.logger.warning(
                f'step {step.number}: loss or gradients are not finite ({_text(step.losses)}), '
                f'update skipped ({self._row} in a row)'
            )
        if self._row >= (self.patience if scale is None else self.patience_fp16):
            self._last = step

    def _stop(self, runner: ActionRunner, last: _Step) -> None:
        mine = None
        known = any_rank(self._suspect is not None)
        # Where all losses are finite and only gradients are not, any batch may have done it.
        if self._suspect is not None or not known:
            step = self._suspect or last
            mine = _save(runner, step)
        found = [item for item in gather_objects(mine) or [] if item is not None]
        message = broadcast_object(_message(found, self._row, last))
        raise TrainingError(message)


_FACT = 'fact:'
"""Before the names of what the optimizer wrapper tells, among those of losses."""


def _save(runner: ActionRunner, step: _Step) -> tuple[list[str], str, dict[str, float]]:
    """Write the batch of a step to the work dir; returns its files, the path, its losses."""
    path = Path(runner.work_dir, f'nonfinite_step_{step.number}_process_{runner.rank}.pth')
    batch = step.batch or {}
    samples = batch.get('data_samples') or []
    files = [str(sample.metainfo.get('filename', '?')) for sample in samples]
    labels = [sample.gt_label.cpu() for sample in samples if 'gt_label' in sample]
    inputs = batch.get('inputs')
    if isinstance(inputs, (list, tuple)):
        inputs = [clip.cpu() for clip in inputs]
    content = dict(
        inputs=inputs,
        files=files,
        labels=labels,
        step=step.number,
        lr=step.rate,
        losses=step.losses,
    )
    with atomic_path(path) as part:
        torch.save(content, part)
    return files, str(path), step.losses


def _text(losses: dict[str, float]) -> str:
    return ', '.join(f'{key} {value}' for key, value in losses.items())


def _message(found: list[tuple[Any, ...]], row: int, last: _Step) -> str:
    text = f'{row} updates in a row were skipped because loss or gradients are not finite; '
    text += f'step {last.number}, learning rate {last.rate:.3g}. '
    for files, path, losses in found:
        text += f'Loss {_text(losses)} on {", ".join(files)}; this batch is in {path}. '
    return text + (
        'A lower learning rate, a longer warm-up, optim_wrapper.clip_grad=dict(max_norm=5) or '
        '--amp off may help; the last good checkpoint is whole'
    )
