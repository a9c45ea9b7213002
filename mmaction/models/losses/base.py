"""The base of every weighted loss."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from torch import Tensor, nn

__all__ = ['BaseWeightedLoss']


class BaseWeightedLoss(nn.Module, metaclass=ABCMeta):
    """A loss times `loss_weight`.

    Sub-classes write `_forward`. It may return one tensor or a dict, of which the
    entries whose name holds 'loss' are weighted.

    Args:
        loss_weight: Factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    @abstractmethod
    def _forward(self, *args: Any, **kwargs: Any) -> Tensor | dict[str, Tensor]:
        """The loss without its weight."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | dict[str, Tensor]:
        """The weighted loss; arguments go to `_forward`."""
        result = self._forward(*args, **kwargs)
        if isinstance(result, dict):
            return {
                name: value * self.loss_weight if 'loss' in name else value
                for name, value in result.items()
            }
        return result * self.loss_weight
