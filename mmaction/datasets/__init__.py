"""Datasets, samplers and transforms of clips."""

from . import transforms
from .base import BaseActionDataset
from .errors import UnreadableVideoError
from .hvu_dataset import HVUDataset
from .image_dataset import ImageDataset
from .joint import ClassBalancedDataset, JointSampler
from .rawframe_dataset import RawframeDataset
from .repeat_aug_dataset import RepeatAugDataset, repeat_pseudo_collate
from .reports import ReadingReport, reading_report
from .samplers import EpochSampler, SampleKey
from .transforms import *  # noqa: F403
from .video_dataset import VideoDataset

__all__ = [
    *transforms.__all__,
    'BaseActionDataset',
    'ClassBalancedDataset',
    'EpochSampler',
    'HVUDataset',
    'ImageDataset',
    'JointSampler',
    'RawframeDataset',
    'ReadingReport',
    'RepeatAugDataset',
    'SampleKey',
    'UnreadableVideoError',
    'VideoDataset',
    'reading_report',
    'repeat_pseudo_collate',
]
