"""Datasets, samplers and transforms of clips."""

from . import transforms
from .base import BaseActionDataset
from .errors import UnreadableVideoError
from .samplers import EpochSampler, SampleKey
from .transforms import *  # noqa: F403
from .video_dataset import VideoDataset

__all__ = [
    *transforms.__all__,
    'BaseActionDataset',
    'EpochSampler',
    'SampleKey',
    'UnreadableVideoError',
    'VideoDataset',
]
