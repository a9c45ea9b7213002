"""The steps of a pipeline, by the names and keys of mmaction2 1.x."""

from .base import BaseTransform
from .crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from .formatting import FormatShape, PackActionInputs, Transpose
from .loading import DecordDecode, DecordInit
from .processing import Flip, Fuse, RandomRescale, Resize
from .sampling import DenseSampleFrames, SampleFrames, UniformSample, UntrimmedSampleFrames

__all__ = [
    'BaseTransform',
    'CenterCrop',
    'DecordDecode',
    'DecordInit',
    'DenseSampleFrames',
    'Flip',
    'FormatShape',
    'Fuse',
    'MultiScaleCrop',
    'PackActionInputs',
    'RandomCrop',
    'RandomRescale',
    'RandomResizedCrop',
    'Resize',
    'SampleFrames',
    'TenCrop',
    'ThreeCrop',
    'Transpose',
    'UniformSample',
    'UntrimmedSampleFrames',
]
