"""The optimizer wrapper in fp32, on which those of other precisions build.

It takes the name of mmengine's wrapper in the registry of mmaction.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import Tensor, nn

from mmaction.distributed.collectives import max_over_ranks
from mmaction.registry import OPTIM_WRAPPERS

from .conditional_step import step_unless

__all__ = ['OptimWrapper']


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_OptimWrapper):
    """mmengine's wrapper in fp32, which never steps on a loss that is not finite.

    Where the loss of any process, or the norm of the clipped gradients, is not
    finite, the gradients of the whole accumulation window are thrown away. Whether they are
    is known on the device; the host neither asks nor waits.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Steps whose gradients make up one update.
        clip_grad: Arguments of `torch.nn.utils.clip_grad_norm_`, or with
            `type='value'` of `clip_grad_value_`.

    Attributes:
        norm: Norm of the gradients of the last update before they were clipped, on the device;
            None if it was not taken.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, dict(clip_grad) if clip_grad else None)
        self.norm: Tensor | None = None
        # Numbers at first, then tensors on the device.
        self._skipped: Any = 0
        self._skipped_in_a_row: Any = 0
        self._window_is_bad: Any = False

    @property
    def skipped(self) -> int:
        """Updates thrown away so far; on a GPU the host waits for it."""
        return int(self._skipped)

    @skipped.setter
    def skipped(self, count: int) -> None:
        self._skipped = count

    @property
    def skipped_in_a_row(self) -> int:
        """Updates thrown away since the last one made; on a GPU the host waits for it."""
        return int(self._skipped_in_a_row)

    def step_facts(self) -> dict[str, Any]:
        """What the host may want to know of a step later: the two counts, on the device."""
        return dict(skipped=self._skipped, skipped_in_a_row=self._skipped_in_a_row)

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Add the gradients of a loss, and update the parameters at the end of a window."""
        # Why the whole window, and not the one bad loss? Its gradients are in the sums already, and
        # what remained would be a smaller batch than the learning rate is meant for.
        self._window_is_bad = self._window_is_bad | ~loss.detach().isfinite().all()
        self.norm = None
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))
            self._window_is_bad = False

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients and, if they are finite, update the parameters."""
        # One bad loss is in the gradients of all ranks after their all-reduce. They are asked at
        # the end of a window alone, since within one they exchange nothing (`no_sync`).
        called_off = max_over_ranks(torch.as_tensor(self._window_is_bad).float())
        self._clip_grad()
        if self.norm is not None:
            # The norm is the one number to look at: it is finite if every gradient is, and the
            # same in all ranks, so that they skip a step together or not at all.
            called_off = torch.maximum(called_off, (~self.norm.isfinite()).float())
        self._step_unless(called_off, **kwargs)

    def _clip_grad(self) -> None:
        """Clip the gradients, where that is asked for, and note their norm."""
        if not self.clip_grad_kwargs:
            return
        parameters = [
            p
            for group in self.optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        if parameters:
            self.norm = self.clip_func(parameters, **self.clip_grad_kwargs)

    def _step_unless(self, called_off: Tensor, **kwargs: Any) -> None:
        step_unless(self.optimizer, called_off, **kwargs)
        self._skipped = self._skipped + called_off
        self._skipped_in_a_row = (self._skipped_in_a_row + 1) * called_off

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Set the steps done and to do; gradients of a half window come with the checkpoint."""
        self._inner_count = init_counts
        self._max_counts = max_counts
        # The loss of the last window is divided by the micro-steps that it really has: mmengine
        # works this out from the steps of the whole run, not of what is left after resuming.
        self._remainder_counts = max_counts % self._accumulative_counts

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer, and what was skipped."""
        # The window's own state is among them: a checkpoint may be saved within a window.
        counts = (self.skipped, self.skipped_in_a_row, not bool(self._window_is_bad))
        return {**super().state_dict(), 'skip_counts': counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, here or in mmengine's wrapper."""
        state_dict = dict(state_dict)
        counts = state_dict.pop('skip_counts', (0, 0, True))
        self._skipped, self._skipped_in_a_row = counts[:2]
        self._window_is_bad = not counts[2]
        state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
