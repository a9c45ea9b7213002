"""Parts that several models share."""

from .blending_utils import CutmixBlending, MixupBlending, RandomBatchAugment

__all__ = ['CutmixBlending', 'MixupBlending', 'RandomBatchAugment']
