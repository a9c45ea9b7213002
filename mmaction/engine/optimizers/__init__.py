"""Optimizer wrappers and how parameters are grouped."""

from .adafactor import build_adafactor
from .amp import AmpOptimWrapper, ApexOptimWrapper
from .constructor import DefaultOptimWrapperConstructor
from .layer_decay import LearningRateDecayOptimizerConstructor
from .optim_wrapper import OptimWrapper
from .swin_optim_wrapper_constructor import SwinOptimWrapperConstructor
from .tsm_optim_wrapper_constructor import TSMOptimWrapperConstructor
from .warmup import WarmupLR

__all__ = [
    'AmpOptimWrapper',
    'ApexOptimWrapper',
    'DefaultOptimWrapperConstructor',
    'LearningRateDecayOptimizerConstructor',
    'OptimWrapper',
    'SwinOptimWrapperConstructor',
    'TSMOptimWrapperConstructor',
    'WarmupLR',
    'build_adafactor',
]
