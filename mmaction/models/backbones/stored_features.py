"""The backbone of a recognizer whose clips are features already."""

from __future__ import annotations

from torch import Tensor, nn

from mmaction.registry import MODELS

__all__ = ['StoredFeatures']


@MODELS.register_module()
class StoredFeatures(nn.Module):
    """Hands on what a `FeatureDataset` has stored."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the same."""
        return x
