"""The head of transformers that give one vector of a clip: TimeSformer and VideoMAE."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.registry import MODELS

from .base import ClassifierHead

__all__ = ['TimeSformerHead']


@MODELS.register_module()
class TimeSformerHead(ClassifierHead):
    """Dropout and one linear layer.

    Takes the arguments of `ClassifierHead`; `init_std` is 0.02.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, **{'init_std': 0.02, **kwargs})

    def init_weights(self) -> None:
        """Truncated normal weights, zero bias."""
        nn.init.trunc_normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C) -> logits (N, K)."""
        return self.classify(x)
