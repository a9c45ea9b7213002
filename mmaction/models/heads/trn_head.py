"""The head of TRN: what tuples of frames say together.

Shapes: N videos of T segments, C channels, D hidden channels, K classes.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmaction.registry import MODELS

from .tsn_head import TSMHead

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
        """(N, T, D) -> logits (N, 1, K)."""
        y: Tensor = self.classifier(x.flatten(1)[:, None])
        return y


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
        """(N, T, D) -> logits (N, 1, K)."""
        total: Tensor = self.fc_fusion_scales[0](x.flatten(1)[:, None])
        for classify, tuples in zip(self.fc_fusion_scales[1:], self.tuples[1:], strict=True):
            for frames in self.draw(tuples):
                total = total + classify(x[:, frames].flatten(1)[:, None])
        return total


_RELATIONS = {'TRN': RelationModule, 'TRNMultiScale': RelationModuleMultiScale}


@MODELS.register_module()
class TRNHead(TSMHead):
    """Average over the grid, dropout, a linear layer for each frame, relations between frames.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature maps.
        num_segments: Segments T of a crop.
        relation_type: 'TRN' (all frames) or 'TRNMultiScale'.
        hidden_dim: Channels D of a frame in the relations.
        kwargs: Further arguments of `TSMHead`.

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
        super().__init__(num_classes, in_channels, num_segments, **kwargs)
        if relation_type not in _RELATIONS:
            raise ValueError(f'relation_type={relation_type!r} is none of {tuple(_RELATIONS)}')
        self.consensus = _RELATIONS[relation_type](hidden_dim, num_segments, num_classes)
        self.fc_cls = nn.Linear(in_channels, hidden_dim)
