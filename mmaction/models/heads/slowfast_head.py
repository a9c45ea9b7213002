"""The head of SlowFast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmaction.registry import MODELS

from .i3d_head import I3DHead

__all__ = ['SlowFastHead']


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
