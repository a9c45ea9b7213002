"""Parts that several models share."""

from .blending import CutmixBlending, MixupBlending, RandomBatchAugment

__all__ = ['CutmixBlending', 'MixupBlending', 'RandomBatchAugment']
