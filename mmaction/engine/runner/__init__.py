"""The runner of a training or a test, its loops, and what it saves and resumes."""

from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from .multi_loop import MultiLoaderEpochBasedTrainLoop
from .runner import ActionRunner

__all__ = [
    'ActionRunner',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'MultiLoaderEpochBasedTrainLoop',
    'TestLoop',
    'ValLoop',
]
