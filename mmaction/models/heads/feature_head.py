"""Head that gives features instead of scores.

Shapes: N clips, T frames, C channels, (H, W) the grid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmaction.registry import MODELS
from mmaction.utils import SampleList

from .base import BaseHead

_POOLS = ('avg', 'max', None)

__all__ = ['FeatureHead']


def _pool(x: Tensor, kind: str | None, dim: int | tuple[int, ...]) -> Tensor:
    """Mean or maximum along axes, or all as it is."""
    if kind is None:
        return x
    return x.mean(dim) if kind == 'avg' else x.amax(dim)


@MODELS.register_module()
class FeatureHead(BaseHead):
    """Features of a clip, pooled over the grid and over time; nothing is learned here.

    With it, `mode='predict'` gives the features themselves.

    Args:
        spatial_type: 'avg', 'max' or None (the grid is kept).
        temporal_type: Likewise along time.
        backbone_name: 'tsm' (its own `num_segments` count), 'slowfast' (two maps) or None.
        num_segments: Segments of a crop of TSM.
        kwargs: Further arguments of `BaseHead`; `average_clips='score'` gives the mean of the
            views.

    Raises:
        ValueError: Another kind of pooling or backbone, or an argument that it lacks.
    """

    def __init__(
        self,
        spatial_type: str | None = 'avg',
        temporal_type: str | None = 'avg',
        backbone_name: str | None = None,
        num_segments: int | None = None,
        **kwargs: Any,
    ) -> None:
        for key, kind in (('spatial_type', spatial_type), ('temporal_type', temporal_type)):
            if kind not in _POOLS:
                raise ValueError(f'{key}={kind!r} is none of {_POOLS}')
        if backbone_name not in ('tsm', 'slowfast', None):
            raise ValueError(
                f"backbone_name={backbone_name!r} is none of 'tsm', 'slowfast' and None"
            )
        if backbone_name == 'tsm' and num_segments is None:
            raise ValueError("backbone_name='tsm' needs num_segments")
        if backbone_name == 'slowfast' and temporal_type is None:
            raise ValueError('the maps of SlowFast differ in length: set temporal_type')
        super().__init__(num_classes=0, in_channels=0, **kwargs)
        self.spatial_type, self.temporal_type = spatial_type, temporal_type
        self.num_segments = num_segments if backbone_name == 'tsm' else None

    def forward(
        self, x: Tensor | tuple[Tensor, ...], num_segs: int | None = None, **kwargs: Any
    ) -> Tensor:
        """Pool the output of a backbone.

        Args:
            x: (N, C, T, H, W), frames (N * T, C, H, W), features (N, C) or a tuple of maps.
            num_segs: Frames T of a clip, for frames.

        Returns:
            (N, C), with the axes that are kept: (N, C, T, H, W), of frames (N, T, C, H, W).
        """
        if isinstance(x, tuple):
            return torch.cat([self(each) for each in x], 1)
        if x.ndim == 2:
            return x
        time = 2
        if x.ndim == 4:
            x, time = x.unflatten(0, (-1, self.num_segments or num_segs or 1)), 1
        assert isinstance(x, Tensor)
        return _pool(_pool(x, self.spatial_type, (-2, -1)), self.temporal_type, time)

    def predict_by_feat(self, cls_scores: Tensor, data_samples: SampleList) -> Tensor:  # type: ignore[override]
        """Features (N * views, ...) of N samples -> (N, ...), or (N, views, ...)."""
        return self.average_clip(cls_scores, len(cls_scores) // len(data_samples))
