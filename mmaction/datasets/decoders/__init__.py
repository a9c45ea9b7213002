"""Readers of video files: PyAV, decord, OpenCV, torchcodec, and a blank stand-in.

A reader knows its number of frames and its rate, and decodes any frames of it.
Frame i is the i-th frame in order of presentation, counted from 0; pixels are
uint8 RGB, turned and mirrored as the file asks. Of several video streams the
one counts that the `ffmpeg` command takes, cover pictures never. Whatever is wrong with a file
ends in `UnreadableVideoError`.
"""

from .checked_reader import CheckedReader
from .decord_reader import DecordReader
from .opencv_reader import OpenCVReader
from .pyav_reader import PyAVReader
from .reader import BlankReader, VideoReader
from .torchcodec_reader import TorchCodecReader

__all__ = [
    'BlankReader',
    'CheckedReader',
    'DecordReader',
    'OpenCVReader',
    'PyAVReader',
    'TorchCodecReader',
    'VideoReader',
]
