"""Datasets, samplers and transforms of clips."""

from mmaction.errors import UnreadableVideoError

from . import transforms
from .base import BaseActionDataset
from .dataset_wrappers import ClassBalancedDataset
from .feature_dataset import FeatureDataset
from .feature_store import FeatureStore, clip_identity, load_features
from .hvu_dataset import HVUDataset
from .image_dataset import ImageDataset
from .rawframe_dataset import RawframeDataset
from .read_failures import ReadingReport, reading_report
from .repeat_aug_dataset import RepeatAugDataset, repeat_pseudo_collate
from .samplers import BlockSampler, EpochSampler, JointSampler, SampleKey
from .shard_dataset import ShardDataset
from .transforms import *  # noqa: F403
from .video_dataset import VideoDataset

__all__ = [
    *transforms.__all__,
    'BaseActionDataset',
    'BlockSampler',
    'ClassBalancedDataset',
    'EpochSampler',
    'FeatureDataset',
    'FeatureStore',
    'HVUDataset',
    'ImageDataset',
    'JointSampler',
    'RawframeDataset',
    'ReadingReport',
    'RepeatAugDataset',
    'SampleKey',
    'ShardDataset',
    'UnreadableVideoError',
    'VideoDataset',
    'clip_identity',
    'load_features',
    'reading_report',
    'repeat_pseudo_collate',
]
