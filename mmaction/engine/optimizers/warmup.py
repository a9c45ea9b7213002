"""The learning-rate warm-up of mmcv, with which the published models were trained."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mmaction.registry import PARAM_SCHEDULERS

__all__ = ['WarmupLR']

POLICIES = ('linear', 'constant', 'exp')


@PARAM_SCHEDULERS.register_module()
class WarmupLR(LRSchedulerMixin, _ParamScheduler):
    """Multiplies the learning rate by a factor that is 1 from step n on, n = end - begin.

    At step i < n the factor is 1 - (1 - start_factor) (1 - i / n) for 'linear', start_factor
    for 'constant' and start_factor ^ (1 - i / n) for 'exp'. mmengine's `LinearLR` takes n down to
    a whole number and reaches 1 a step earlier; 2.5 epochs of an odd number of steps need both.

    Args:
        optimizer: The optimizer or its wrapper.
        start_factor: The factor at step 0, above 0 and at most 1.
        policy: 'linear', 'constant' or 'exp'.
        begin: First step of the warm-up.
        end: Its end; with `convert_to_iter_based=True` both are epochs, which may be fractions.
        kwargs: `by_epoch`, `last_step`, `verbose` of every scheduler.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        optimizer: object,
        *args: Any,
        start_factor: float = 0.1,
        policy: str = 'linear',
        begin: float = 0,
        end: float = INF,
        **kwargs: Any,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(
                f'WarmupLR: start_factor={start_factor} must lie above 0, at most at 1'
            )
        if policy not in POLICIES:
            raise ValueError(f'WarmupLR: policy={policy!r} is none of {", ".join(POLICIES)}')
        self.start_factor = start_factor
        self.policy = policy
        self.length = end - begin
        # One step more than the warm-up has: the one that makes the factor 1.
        last = math.ceil(end) + 1
        super().__init__(optimizer, *args, begin=math.floor(begin), end=last, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: float = 0,
        end: float = INF,
        by_epoch: bool = True,
        epoch_length: int,
        **kwargs: Any,
    ) -> WarmupLR:
        """Build it from epochs; unlike mmengine's, fractions of a step count."""
        if not by_epoch:
            raise ValueError('WarmupLR: convert_to_iter_based=True needs by_epoch=True')
        return cls(
            *args, begin=begin * epoch_length, end=end * epoch_length, by_epoch=False, **kwargs
        )

    def factor(self, step: int) -> float:
        """The factor at a step, counted from `begin`."""
        left = 1 - step / self.length
        if left <= 0:
            return 1.0
        if self.policy == 'linear':
            return 1 - (1 - self.start_factor) * left
        return self.start_factor ** (left if self.policy == 'exp' else 1)

    def _get_value(self) -> list[float]:
        # Relative to the step before, so that other schedulers act on the same rate.
        change = self.factor(self.last_step)
        if self.last_step > 0:
            change /= self.factor(self.last_step - 1)
        return [group[self.param_name] * change for group in self.optimizer.param_groups]
