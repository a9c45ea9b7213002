"""The steps of a pipeline, by the names and keys of mmaction2 1.x."""

from .base import BaseTransform
from .color import ColorJitter, RandomErasing
from .crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from .formatting import FormatShape, PackActionInputs, Transpose
from .image_loading import (
    ArrayDecode,
    BuildPseudoClip,
    ImageDecode,
    LoadRGBFromFile,
    RawFrameDecode,
)
from .inference_input import InferencerPackInput
from .labels import LoadHVULabel
from .loading import (
    DecordDecode,
    DecordInit,
    OpenCVDecode,
    OpenCVInit,
    PIMSDecode,
    PIMSInit,
    PyAVDecode,
    PyAVInit,
    TorchCodecDecode,
    TorchCodecInit,
)
from .processing import Flip, Fuse, RandomRescale, Resize
from .sampling import DenseSampleFrames, SampleFrames, UniformSample, UntrimmedSampleFrames
from .wrappers import PytorchVideoWrapper, TorchVisionWrapper

__all__ = [
    'ArrayDecode',
    'BaseTransform',
    'BuildPseudoClip',
    'CenterCrop',
    'ColorJitter',
    'DecordDecode',
    'DecordInit',
    'DenseSampleFrames',
    'Flip',
    'FormatShape',
    'Fuse',
    'ImageDecode',
    'InferencerPackInput',
    'LoadHVULabel',
    'LoadRGBFromFile',
    'MultiScaleCrop',
    'OpenCVDecode',
    'OpenCVInit',
    'PIMSDecode',
    'PIMSInit',
    'PackActionInputs',
    'PyAVDecode',
    'PyAVInit',
    'PytorchVideoWrapper',
    'RandomCrop',
    'RandomErasing',
    'RandomRescale',
    'RandomResizedCrop',
    'RawFrameDecode',
    'Resize',
    'SampleFrames',
    'TenCrop',
    'ThreeCrop',
    'TorchCodecDecode',
    'TorchCodecInit',
    'TorchVisionWrapper',
    'Transpose',
    'UniformSample',
    'UntrimmedSampleFrames',
]
