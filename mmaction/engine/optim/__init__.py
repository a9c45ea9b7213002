"""Optimiser wrappers and how parameters are grouped."""

from .constructor import DefaultOptimWrapperConstructor
from .layer_decay import LearningRateDecayOptimizerConstructor
from .precision import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper

__all__ = [
    'AmpOptimWrapper',
    'ApexOptimWrapper',
    'DefaultOptimWrapperConstructor',
    'LearningRateDecayOptimizerConstructor',
    'OptimWrapper',
]
