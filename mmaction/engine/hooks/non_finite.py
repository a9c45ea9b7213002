"""Stopping a run whose loss is no longer a number, with what is needed to see why."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.distributed.collectives import any_rank, broadcast_object, gather_objects
from mmaction.engine.optimizers.amp import OptimWrapper
from mmaction.errors import TrainingError
from mmaction.registry import HOOKS
from mmaction.utils.io import atomic_path
from mmaction.utils.model_wrapper import bare_model

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['NonFiniteLossHook']


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Tell of updates that were skipped, and stop after several in a row.

    The batch that did it is saved to `nonfinite_step_N_process_R.pth` in the
    work dir (`inputs`, `files`, `labels`, `step`, `lr`, `losses`).

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
        self._suspect: tuple[Any, dict[str, float], int] | None = None

    def before_train(self, runner: ActionRunner) -> None:
        """Count from where a resumed run is."""
        self._skipped = getattr(runner.optim_wrapper, 'skipped', 0)
        modules = bare_model(runner.model).modules()
        norms = [module for module in modules if isinstance(module, _BatchNorm)]
        self._statistics = [
            buffer for norm in norms for buffer in norm.buffers() if buffer is not None
        ]

    def before_train_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Keep BatchNorm's statistics, which a bad batch spoils before the loss is known."""
        self._kept = [buffer.clone() for buffer in self._statistics]

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look whether the update of this step was made.

        Raises:
            TrainingError: `patience` updates in a row were not.
        """
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return
        losses = {
            key: float(torch.as_tensor(value).detach())
            for key, value in (outputs or {}).items()
            if 'loss' in key
        }
        if not all(math.isfinite(value) for value in losses.values()):
            # An update over several steps is skipped only after the last of them.
            self._suspect = data_batch, losses, runner.iter + 1
            self._restore_statistics()
        if wrapper.skipped == self._skipped:
            if wrapper.should_update():
                self._suspect = None
            return
        self._skipped = wrapper.skipped
        self._restore_statistics()
        scaler = getattr(wrapper, 'loss_scaler', None)
        scaled = scaler is not None and scaler.is_enabled()
        what = ', '.join(f'{key} {value}' for key, value in losses.items())
        row = wrapper.skipped_in_a_row
        if scaled and scaler is not None:
            runner.logger.info(
                f'step {runner.iter + 1}: gradients overflow in fp16, update skipped '
                f'({wrapper.skipped} so far), loss scale now {scaler.get_scale():g}'
            )
        else:
            runner.logger.warning(
                f'step {runner.iter + 1}: loss or gradients are not finite ({what}), update '
                f'skipped ({row} in a row)'
            )
        if row >= (self.patience_fp16 if scaled else self.patience):
            self._stop(runner, (data_batch, losses, runner.iter + 1), row)

    def _restore_statistics(self) -> None:
        if not all(bool(torch.isfinite(buffer).all()) for buffer in self._statistics):
            for buffer, kept in zip(self._statistics, self._kept, strict=True):
                buffer.copy_(kept)

    def _stop(
        self, runner: ActionRunner, current: tuple[Any, dict[str, float], int], row: int
    ) -> None:
        batch, losses, step = self._suspect or current
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        samples = (batch or {}).get('data_samples') or []
        files = [str(sample.metainfo.get('filename', '?')) for sample in samples]
        mine = None
        known = any_rank(self._suspect is not None)
        # Where all losses are finite and only gradients are not, any batch may have done it.
        if self._suspect is not None or not known:
            path = Path(runner.work_dir, f'nonfinite_step_{step}_process_{runner.rank}.pth')
            labels = [sample.gt_label for sample in samples if 'gt_label' in sample]
            inputs = (batch or {}).get('inputs')
            content = dict(
                inputs=inputs, files=files, labels=labels, step=step, lr=rate, losses=losses
            )
            with atomic_path(path) as part:
                torch.save(content, part)
            mine = (files, str(path), losses)
        found = [item for item in gather_objects(mine) or [] if item is not None]
        message = broadcast_object(_message(found, row, runner.iter + 1, rate))
        raise TrainingError(message)


def _message(found: list[tuple[Any, ...]], row: int, step: int, rate: float) -> str:
    text = f'{row} updates in a row were skipped because loss or gradients are not finite; '
    text += f'step {step}, learning rate {rate:.3g}. '
    for files, path, losses in found:
        what = ', '.join(f'{key} {value}' for key, value in losses.items())
        text += f'Loss {what} on {", ".join(files)}; this batch is in {path}. '
    return text + (
        'A lower learning rate, a longer warm-up, optim_wrapper.clip_grad=dict(max_norm=5) or '
        '--amp off may help; the last good checkpoint is whole'
    )
