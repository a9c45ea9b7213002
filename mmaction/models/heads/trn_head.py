"""The head of TRN: what tuples of frames say together.

Shapes: N videos of T segments, C channels, D hidden channels, K classes.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmaction.registry import MODELS

from .tsn_head import TSNHead

__all__ = ['RelationModule', 'RelationModuleMultiScale', 'TRNHead']

MAX_TUPLES = 3


def _relation(frames: int, hidden_dim: int, within: int, num_classes: int) -> nn.Sequential:
    """Classifier of a tuple of frames."""
    return nn.Sequential(
        nn.ReLU(), nn.Linear(frames * hidden_dim, within), nn.ReLU(), nn.Linear(within, num_classes)
    )


class RelationModule(nn.Module):
    """Classifier of all frames together."""

    def __init__(self, hidden_dim: int, num_segments: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = _relation(num_segments, hidden_dim, 512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> logits (N, K)."""
        scores: Tensor = self.classifier(x.flatten(1))
        return scores


class RelationModuleMultiScale(nn.Module):
    """Sum of what all frames say and random tuples of T - 1, ..., 2 frames, three of each length.

    The tuples are drawn anew for each batch, in testing too, as published.
    """

    def __init__(self, hidden_dim: int, num_segments: int, num_classes: int) -> None:
        super().__init__()
        scales = range(num_segments, 1, -1)
        self.tuples = [list(combinations(range(num_segments), scale)) for scale in scales]
        self.fc_fusion_scales = nn.ModuleList(
            _relation(scale, hidden_dim, 256, num_classes) for scale in scales
        )

    def draw(self, tuples: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Some of the tuples of one length."""
        count = min(MAX_TUPLES, len(tuples))
        return [tuples[i] for i in np.random.choice(len(tuples), count, replace=False)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> logits (N, K)."""
        total: Tensor = self.fc_fusion_scales[0](x.flatten(1))
        for classify, tuples in zip(self.fc_fusion_scales[1:], self.tuples[1:], strict=True):
            for frames in self.draw(tuples):
                total = total + classify(x[:, frames].flatten(1))
        return total


_RELATIONS = {'TRN': RelationModule, 'TRNMultiScale': RelationModuleMultiScale}


@MODELS.register_module()
class TRNHead(TSNHead):
    """Average over the grid, dropout, a linear layer for each frame, relations between frames.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature maps.
        num_segments: Segments T of a crop.
        relation_type: 'TRN' (all frames) or 'TRNMultiScale'.
        hidden_dim: Channels D of a frame in the relations.
        kwargs: Further arguments of `TSNHead`; `dropout_ratio` is 0.8, `init_std` 0.001 here.

    Raises:
        ValueError: Another `relation_type`.

    Source: arXiv:1711.08496.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_segments: int = 8,
        relation_type: str = 'TRNMultiScale',
        hidden_dim: int = 256,
        **kwargs: Any,
    ) -> None:
        if relation_type not in _RELATIONS:
            raise ValueError(f'relation_type={relation_type!r} is none of {tuple(_RELATIONS)}')
        defaults = dict(dropout_ratio=0.8, init_std=0.001)
        super().__init__(num_classes, in_channels, **{**defaults, **kwargs})
        self.num_segments = num_segments
        self.consensus = _RELATIONS[relation_type](hidden_dim, num_segments, num_classes)
        self.fc_cls = nn.Linear(in_channels, hidden_dim)

    def forward(self, x: Tensor, num_segs: int | None = None, **kwargs: Any) -> Tensor:
        """(N * crops * T, C, H, W) -> logits (N * crops, K)."""
        frames = self.classify(self.pool(x)).unflatten(0, (-1, self.num_segments))
        scores: Tensor = self.consensus(frames)
        return scores
