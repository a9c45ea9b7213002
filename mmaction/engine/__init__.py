"""The training engine: processes, loops, checkpoints, hooks and optimiser wrappers."""

from . import hooks, optim
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from .runner import ActionRunner

__all__ = [
    'ActionRunner',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'ValLoop',
    'hooks',
    'optim',
]
