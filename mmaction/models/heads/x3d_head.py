"""The head of X3D."""

from __future__ import annotations

from typing import Any

from mmengine.model import normal_init
from torch import Tensor, nn

from mmaction.registry import MODELS

from .base import BaseHead

__all__ = ['X3DHead']

_POOLS = {'avg': nn.AdaptiveAvgPool3d, 'max': nn.AdaptiveMaxPool3d}


@MODELS.register_module()
class X3DHead(BaseHead):
    """Pooling, a hidden layer of 2048, dropout, one linear layer.

    Args:
        spatial_type: 'avg' or 'max'.
        dropout_ratio: Dropout before the classifier.
        init_std: Standard deviation of the first weights.
        fc1_bias: Whether the hidden layer has a bias.
        kwargs: Arguments of `BaseHead`.

    Raises:
        ValueError: Another `spatial_type`.

    Source: arXiv:2004.04730.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        spatial_type: str = 'avg',
        dropout_ratio: float = 0.5,
        init_std: float = 0.01,
        fc1_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        if spatial_type not in _POOLS:
            raise ValueError(f'spatial_type={spatial_type!r} is none of {tuple(_POOLS)}')
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc1 = nn.Linear(in_channels, 2048, bias=fc1_bias)
        self.fc2 = nn.Linear(2048, num_classes)
        self.relu = nn.ReLU()
        self.pool = _POOLS[spatial_type](1)

    def init_weights(self) -> None:
        """Normal weights, zero bias."""
        for layer in (self.fc1, self.fc2):
            normal_init(layer, std=self.init_std)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W) -> logits (N, K)."""
        hidden = self.relu(self.fc1(self.pool(x).flatten(1)))
        y: Tensor = self.fc2(hidden if self.dropout is None else self.dropout(hidden))
        return y
