"""The training engine: processes, loops, checkpoints, hooks and optimiser wrappers."""

from .hooks import CheckpointHook, CurveHook, StartReportHook
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from .runner import ActionRunner

__all__ = [
    'ActionRunner',
    'AmpOptimWrapper',
    'ApexOptimWrapper',
    'CheckpointHook',
    'CurveHook',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'OptimWrapper',
    'StartReportHook',
]
