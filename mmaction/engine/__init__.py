"""Running a training or a test: the runner, its hooks and the optimizers."""

from . import hooks, optimizers, runner
from .runner import ActionRunner, EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop

__all__ = [
    'ActionRunner',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'ValLoop',
    'hooks',
    'optimizers',
    'runner',
]
