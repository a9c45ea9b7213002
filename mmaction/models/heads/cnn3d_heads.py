"""Heads of 3-D convolutional networks: SlowFast, X3D.

Shapes: N clips, C channels and (T, H, W) grid of the feature map, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import normal_init
from torch import Tensor, nn

from mmaction.registry import MODELS

from .base import BaseHead
from .i3d_head import I3DHead

__all__ = ['SlowFastHead', 'X3DHead']


@MODELS.register_module()
class SlowFastHead(I3DHead):
    """`I3DHead` on the pooled maps of both pathways, the fast one's channels first.

    Takes the arguments of `I3DHead`; `in_channels` are those of both pathways together,
    `dropout_ratio` is 0.8.

    Raises:
        ValueError: A `spatial_type` other than 'avg'.

    Source: arXiv:1812.03982.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, **{'dropout_ratio': 0.8, **kwargs})
        if self.avg_pool is None:
            raise ValueError("SlowFastHead joins pooled maps: spatial_type must be 'avg'")

    def forward(self, x: Any, **kwargs: Any) -> Tensor:
        """Slow (N, C, T, H, W) and fast map (N, C', T', H, W) -> logits (N, K)."""
        assert self.avg_pool is not None
        return super().forward(torch.cat([self.avg_pool(part) for part in x[::-1]], 1))


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
