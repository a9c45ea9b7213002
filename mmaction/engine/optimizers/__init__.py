"""Optimizer wrappers and how parameters are grouped."""

from .amp import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from .constructor import DefaultOptimWrapperConstructor
from .layer_decay import LearningRateDecayOptimizerConstructor
from .warmup import WarmupLR

__all__ = [
    'AmpOptimWrapper',
    'ApexOptimWrapper',
    'DefaultOptimWrapperConstructor',
    'LearningRateDecayOptimizerConstructor',
    'OptimWrapper',
    'WarmupLR',
]
