"""Heads of frame-wise models.

Shapes: N videos of T frames (segments and crops), C channels, D hidden channels, K classes.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import ClassifierHead

__all__ = [
    'RelationModule',
    'RelationModuleMultiScale',
    'TPNHead',
    'TRNHead',
    'TSMHead',
    'TSNHead',
]


@MODELS.register_module()
class TSNHead(ClassifierHead):
    """Average over the grid, mean over the frames, dropout, one linear layer.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature maps.
        spatial_type: 'avg' pools the map; with anything else it comes pooled.
        consensus: Config of what brings the frames together.
        dropout_ratio: Dropout before the classifier.
        kwargs: Further arguments of `ClassifierHead`.

    Source: arXiv:1608.00859.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        spatial_type: str | None = 'avg',
        consensus: ConfigType = dict(type='AvgConsensus', dim=1),  # noqa: B006 (built, never written to)
        dropout_ratio: float = 0.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, **kwargs)
        self.spatial_type = spatial_type
        self.consensus = MODELS.build(consensus)
        self.avg_pool = nn.AdaptiveAvgPool2d(1) if spatial_type == 'avg' else None

    def pool(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> (N*T, C)."""
        return (x if self.avg_pool is None else self.avg_pool(x)).flatten(1)

    def forward(self, x: Tensor, num_segs: int = 1, **kwargs: Any) -> Tensor:
        """(N * num_segs, C, H, W) -> logits (N, K)."""
        frames = self.pool(x).unflatten(0, (-1, num_segs))
        return self.classify(self.consensus(frames).squeeze(1))


@MODELS.register_module()
class TSMHead(TSNHead):
    """Average over the grid, dropout, one linear layer, mean over the segments of a crop.

    Args:
        num_segments: Segments of a crop, as in the backbone; the recognizer's
            number, which counts all crops, is not used.
        is_shift: No effect; accepted since published configs have it.
        temporal_pool: Whether the backbone halves the segments, as it does with or without shift.
        kwargs: Arguments of `TSNHead`; `dropout_ratio` is 0.8, `init_std` 0.001 here.

    Source: arXiv:1811.08383.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_segments: int = 8,
        is_shift: bool = True,
        temporal_pool: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs = {'dropout_ratio': 0.8, 'init_std': 0.001, **kwargs}
        super().__init__(num_classes, in_channels, **kwargs)
        self.num_segments = num_segments // 2 if temporal_pool else num_segments

    def forward(self, x: Tensor, num_segs: int | None = None, **kwargs: Any) -> Tensor:
        """(N * crops * segments, C, H, W) -> logits (N * crops, K)."""
        scores = self.classify(self.pool(x)).unflatten(0, (-1, self.num_segments))
        y: Tensor = self.consensus(scores).squeeze(1)
        return y


@MODELS.register_module()
class TPNHead(TSNHead):
    """`TSNHead` on the map of a temporal pyramid.

    Takes the arguments of `TSNHead`.

    Source: arXiv:2004.03548.
    """

    def forward(
        self, x: Tensor, num_segs: int | None = None, fcn_test: bool = False, **kwargs: Any
    ) -> Tensor:
        """(N, C, T, H, W), or frames (N * num_segs, C, H, W) -> logits (N, K).

        Fully convolutional testing gives the same here, since the map is pooled before.
        """
        if num_segs is None or fcn_test:
            return self.classify(x.mean((2, 3, 4)))
        return super().forward(x, num_segs)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # mmaction2 saves a second copy of the classifier once it has tested in this way
        for name in ('new_cls.weight', 'new_cls.bias'):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


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
        relation_type: 'TRN' (all frames) or 'TRNMultiScale'.
        hidden_dim: Channels D of a frame in the relations.
        kwargs: Arguments of `TSMHead`.

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
        # After the consensus: optimizer states of mmaction2 are resumed by the order of parameters.
        del self.fc_cls
        self.fc_cls = nn.Linear(in_channels, hidden_dim)
