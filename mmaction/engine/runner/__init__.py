"""The runner of a training or a test, its loops, and what it saves and resumes."""

from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from .runner import ActionRunner

__all__ = ['ActionRunner', 'EpochBasedTrainLoop', 'IterBasedTrainLoop', 'ValLoop']
