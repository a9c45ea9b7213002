"""Parts that several models share."""

from .blending_utils import (
    BaseMiniBatchBlending,
    CutmixBlending,
    MixupBlending,
    RandomBatchAugment,
)

__all__ = ['BaseMiniBatchBlending', 'CutmixBlending', 'MixupBlending', 'RandomBatchAugment']
