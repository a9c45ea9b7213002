"""Averaged weights whose number of updates the host knows, so that no step waits for a GPU.

They take the names of mmengine's averages in the registry of mmaction, where `EMAHook` finds them.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseAveragedModel
from mmengine.model import ExponentialMovingAverage as _ExponentialMovingAverage
from mmengine.model import MomentumAnnealingEMA as _MomentumAnnealingEMA
from mmengine.model import StochasticWeightAverage as _StochasticWeightAverage
from torch import Tensor

from mmaction.registry import MODELS

__all__ = ['ExponentialMovingAverage', 'MomentumAnnealingEMA', 'StochasticWeightAverage']


class _CountsOnHost(BaseAveragedModel):
    """mmengine's buffer `steps`, as an integer; checkpoints hold it as the tensor it was."""

    steps: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.steps
        self.steps = 0

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        destination[f'{prefix}steps'] = torch.tensor(self.steps, device='cpu')
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        steps = state_dict.pop(f'{prefix}steps', None)
        if steps is not None:
            self.steps = int(steps)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class ExponentialMovingAverage(_CountsOnHost, _ExponentialMovingAverage):
    """average += momentum * (weights - average), each step; see mmengine's class."""


@MODELS.register_module()
class StochasticWeightAverage(_CountsOnHost, _StochasticWeightAverage):
    """The mean of the weights at every `interval`-th step; see mmengine's class."""


@MODELS.register_module()
class MomentumAnnealingEMA(_CountsOnHost, _MomentumAnnealingEMA):
    """An EMA with momentum max(momentum, gamma / (gamma + steps)); see mmengine's class."""

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move one average."""
        momentum = max(self.momentum, self.gamma / (self.gamma + steps))
        averaged_param.lerp_(source_param, momentum)
