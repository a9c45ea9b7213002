"""What torch.compile costs at the start of a run."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

__all__ = ['CompileTimeHook']


class CompileTimeHook(Hook):
    """Say how long the first step of a compiled run took, and the steps after it.

    The runner adds it where it compiles.

    Args:
        steps: Steps after the first whose mean time is told.
    """

    # After the timer.
    priority = 'LOW'

    def __init__(self, steps: int = 5) -> None:
        self.steps = steps
        self._times: list[float] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Note the time of a step; tell once there are enough."""
        if len(self._times) > self.steps:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # or the times were those of queueing the steps
        scalars = runner.message_hub.log_scalars
        spent = float(scalars['train/time'].current()) if 'train/time' in scalars else 0.0
        self._times.append(spent)
        if len(self._times) > self.steps:
            first, *later = self._times
            runner.logger.info(
                f'torch.compile: the first step took {first:.1f} s, those after it '
                f'{sum(later) / len(later):.3f} s each; validation compiles once more'
            )
