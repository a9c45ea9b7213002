"""Opening videos and decoding the chosen frames.

An `...Init` transform opens the file in the worker and writes `video_reader`,
`total_frames`, `avg_fps`; the `...Decode` transform of the same decoder reads
`frame_inds` and writes `imgs`, one uint8 RGB array (T, H, W, 3), with
`original_shape` and `img_shape` (h, w). Where `blank` is set, black frames
stand for the file.

Frame sampling, image files, labels and inputs of inferencers have modules of their own;
they can be imported from here too, where mmaction2 keeps them.
"""

from __future__ import annotations

import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmaction.datasets.decoders import (
    BlankReader,
    CheckedReader,
    DecordReader,
    OpenCVReader,
    PyAVReader,
    TorchCodecReader,
    VideoReader,
)
from mmaction.datasets.decoders.reader import remote_content, video_path
from mmaction.errors import UnreadableVideoError
from mmaction.registry import TRANSFORMS
from mmaction.utils.remote import read_bytes, redacted

from .base import BaseTransform
from .image_loading import (
    ArrayDecode,
    BuildPseudoClip,
    FileSource,
    ImageDecode,
    LoadRGBFromFile,
    RawFrameDecode,
)
from .inference_input import InferencerPackInput
from .labels import LoadHVULabel
from .sampling import DenseSampleFrames, SampleFrames, UniformSample, UntrimmedSampleFrames

__all__ = [
    'ArrayDecode',
    'BuildPseudoClip',
    'DecordDecode',
    'DecordInit',
    'DenseSampleFrames',
    'ImageDecode',
    'InferencerPackInput',
    'LoadHVULabel',
    'LoadRGBFromFile',
    'OpenCVDecode',
    'OpenCVInit',
    'PIMSDecode',
    'PIMSInit',
    'PyAVDecode',
    'PyAVInit',
    'RawFrameDecode',
    'SampleFrames',
    'TorchCodecDecode',
    'TorchCodecInit',
    'UniformSample',
    'UntrimmedSampleFrames',
    'VideoDecode',
    'VideoInit',
    'defer_conversion',
]


class VideoInit(BaseTransform):
    """Open `filename`; '.mp4' is added to a name without extension if there is no such file.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        kwargs: Arguments of the file backend.
    """

    shown: tuple[str, ...] = ('io_backend',)
    # Imported with the pipeline, so that the workers of a loader inherit them when they are forked.
    modules: tuple[str, ...] = ()

    def __init__(self, io_backend: str = 'disk', **kwargs: Any) -> None:
        for module in self.modules:
            import_module(module)
        self.io_backend = io_backend
        self.source = FileSource(io_backend, **kwargs)

    def _content(
        self, filename: str, results: dict[str, Any], by_ranges: bool = False
    ) -> bytes | BinaryIO | None:
        """The content of the file; None if decoders may open the path themselves."""
        if 'shard' in results:
            return _from_shard(filename, results)
        if self.io_backend == 'disk':
            return remote_content(filename, by_ranges)
        return self.source.read(filename)

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        raise NotImplementedError

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Open the video of `results`.

        Raises:
            UnreadableVideoError: It cannot be opened.
        """
        filename = results['filename']
        if 'shard' in results:
            pass  # the name is that of the file that was packed
        elif self.io_backend == 'disk':
            filename = video_path(filename)
        elif not osp.splitext(filename)[1]:
            filename = f'{filename}.mp4'
        blank = results.get('blank')
        reader = BlankReader(filename) if blank else self.open(filename, results)
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.get_avg_fps()
        return results


def _from_shard(filename: str, results: dict[str, Any]) -> bytes:
    """The content of a clip that is packed in a tar file.

    Raises:
        UnreadableVideoError: The shard is missing, cut off or cannot be fetched, or the clip
            could not be read when it was to be packed.
    """
    start, size = results['shard_offset'], results['shard_size']
    if not size:
        raise UnreadableVideoError(filename, 'it could not be read when its list was packed')
    shard = results['shard']
    try:
        content = read_bytes(shard, start, start + size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableVideoError(filename, f'shard {redacted(shard)}: {reason}') from None
    if len(content) < size:
        raise UnreadableVideoError(filename, f'shard {redacted(shard)} is cut off')
    return content


class VideoDecode(BaseTransform):
    """Decode the frames `frame_inds` of `video_reader`, then close it.

    Args:
        mode: 'accurate' gives the very frames; 'efficient' the key frames at or
            before them, which is faster and may repeat frames.
        in_decoder: Crop and resize (bilinear or area) in the decoder before the conversion to RGB,
            in one step and a little differently from OpenCV, until a transform other than
            Resize, a crop or Flip follows. Random draws stay the same.
    """

    shown: tuple[str, ...] = ('mode',)

    def __init__(self, mode: str = 'accurate', in_decoder: bool = False) -> None:
        if mode not in ('accurate', 'efficient'):
            raise ValueError(f"mode must be 'accurate' or 'efficient', found {mode!r}")
        self.mode = mode
        self.in_decoder = in_decoder
        self.is_deferred = in_decoder
        """Whether `imgs` may be `DeferredFrames`, which `defer_conversion` finds out."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Decode the frames chosen in `results`.

        Raises:
            UnreadableVideoError: A frame cannot be decoded.
        """
        reader = results['video_reader']
        frame_inds = results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        if self.mode == 'efficient' and not isinstance(reader, BlankReader | DecordReader):
            imgs = reader.get_key_frames(frame_inds)
        elif self.is_deferred and isinstance(reader, PyAVReader):
            imgs = reader.get_deferred(frame_inds, self.in_decoder)
        else:
            imgs = reader.get_batch(frame_inds)
        reader.close()
        results['video_reader'] = None
        if isinstance(reader, CheckedReader) and reader.fallback is not None:
            results['decoder_fallback'] = reader.fallback
        results['imgs'] = imgs
        results['original_shape'] = results['img_shape'] = imgs.shape[1:3]
        return results


def defer_conversion(steps: Sequence[Any]) -> None:
    """Let frames be converted to RGB one by one, where only crops, resizes and flips follow.

    Args:
        steps: A pipeline. Where a transform that is not of this package comes first, which may
            look into `imgs`, nothing changes.
    """
    for place, decoding in enumerate(steps):
        if isinstance(decoding, VideoDecode):
            following = (step for step in steps[place + 1 :] if not _passes_deferred(step))
            decoding.is_deferred = decoding.in_decoder or _is_prepared(next(following, None))


def _passes_deferred(step: Any) -> bool:
    """Whether frames that are deferred stay so."""
    return _is_prepared(step) and step.takes_deferred and step.keeps_deferred


def _is_prepared(step: object) -> bool:
    """Whether the `__call__` of a step, which loads frames if need be, was not replaced."""
    return isinstance(step, BaseTransform) and type(step).__call__ is BaseTransform.__call__


@TRANSFORMS.register_module()
class DecordInit(VideoInit):
    """Open a video with PyAV, which is faster than decord and gives the right frame of any file.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        num_threads: Decoding threads; 0 leaves the number to the decoder.
        decoder: 'pyav', or 'decord', which has to be installed. decord gives wrong frames
            without a word where pictures that precede a key frame in time follow it in the
            file (open groups of pictures), of files with edit lists and of mirrored ones.
        kwargs: Arguments of the file backend.

    Raises:
        ValueError: `decoder` is neither.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('io_backend', 'num_threads')
    modules = ('av',)

    def __init__(
        self, io_backend: str = 'disk', num_threads: int = 1, decoder: str = 'pyav', **kwargs: Any
    ) -> None:
        super().__init__(io_backend, **kwargs)
        if decoder not in ('pyav', 'decord'):
            raise ValueError(f"decoder={decoder!r} must be 'pyav' or 'decord'")
        self.num_threads = num_threads
        self.decoder = decoder

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        content = self._content(filename, results, by_ranges=self.decoder == 'pyav')
        if self.decoder == 'pyav':
            return PyAVReader(filename, content, self.num_threads)
        if not isinstance(content, bytes | None):
            content = content.read()
        return DecordReader(filename, content, self.num_threads)


@TRANSFORMS.register_module()
class DecordDecode(VideoDecode):
    """Decode frames of a video that `DecordInit` opened.

    Args:
        mode: 'accurate' gives the very frames; 'efficient' the key frames at or
            before them, which is faster and may repeat frames.
        in_decoder: Crop and resize (bilinear or area) in the decoder before the conversion to RGB,
            in one step and a little differently from OpenCV, until a transform other than
            Resize, a crop or Flip follows. Random draws stay the same.

    Source: the transform of this name in mmaction2 1.2.
    """


@TRANSFORMS.register_module()
class PyAVInit(VideoInit):
    """Open a video with PyAV.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        kwargs: Arguments of the file backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    modules = ('av',)

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        return PyAVReader(filename, self._content(filename, results, by_ranges=True))


@TRANSFORMS.register_module()
class PyAVDecode(VideoDecode):
    """Decode frames with PyAV.

    Args:
        multi_thread: Decode with as many threads as FFmpeg likes.
        mode: 'accurate' gives the very frames; 'efficient' the key frames at or
            before them, which is faster and may repeat frames.
        in_decoder: Crop and resize (bilinear or area) in the decoder before the conversion to RGB,
            in one step and a little differently from OpenCV, until a transform other than
            Resize, a crop or Flip follows. Random draws stay the same.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('multi_thread', 'mode')

    def __init__(
        self, multi_thread: bool = False, mode: str = 'accurate', in_decoder: bool = False
    ) -> None:
        super().__init__(mode, in_decoder)
        self.multi_thread = multi_thread

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Decode the frames chosen in `results`."""
        reader = results['video_reader']
        if self.multi_thread and isinstance(reader, PyAVReader):
            reader.use_threads(0)
        return super().transform(results)


@TRANSFORMS.register_module()
class PIMSInit(PyAVInit):
    """Open a video with PyAV, as PIMS does.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        mode: 'accurate' or 'efficient': here the frames are exact by either.
        kwargs: Arguments of the file backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('io_backend', 'mode')

    def __init__(self, io_backend: str = 'disk', mode: str = 'accurate', **kwargs: Any) -> None:
        super().__init__(io_backend, **kwargs)
        if mode not in ('accurate', 'efficient'):
            raise ValueError(f"mode must be 'accurate' or 'efficient', found {mode!r}")
        self.mode = mode


@TRANSFORMS.register_module()
class PIMSDecode(VideoDecode):
    """Decode frames with PyAV.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ()

    def __init__(self) -> None:
        super().__init__()


@TRANSFORMS.register_module()
class OpenCVInit(VideoInit):
    """Open a video with OpenCV; `new_path` is the path that OpenCV reads.

    `mmaction.datasets.decoders.OpenCVReader` says what OpenCV cannot do.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file
            backends, from which the file is copied to a temporary one first.
        kwargs: Arguments of the file backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    modules = ('cv2',)

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        content = self._content(filename, results)
        if content is None:
            results['new_path'] = filename
            return OpenCVReader(filename)
        handle, path = tempfile.mkstemp(suffix=osp.splitext(filename)[1])
        results['new_path'] = path
        try:
            with os.fdopen(handle, 'wb') as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    shutil.copyfileobj(content, file)
            # The file stays readable to OpenCV after its name is gone.
            return OpenCVReader(path)
        finally:
            Path(path).unlink()


@TRANSFORMS.register_module()
class OpenCVDecode(VideoDecode):
    """Decode frames with OpenCV.

    Source: the transform of this name in mmaction2 1.2, which puts the frame
    before in the place of one that cannot be decoded; here that is an error.
    """

    shown = ()

    def __init__(self) -> None:
        super().__init__()


@TRANSFORMS.register_module()
class TorchCodecInit(VideoInit):
    """Open a video with torchcodec, an optional extra.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        num_threads: Decoding threads on the CPU; 0 leaves the number to FFmpeg.
        device: 'cpu', or a GPU such as 'cuda:0' that decodes. A worker that was
            forked cannot use a GPU: set `multiprocessing_context='spawn'` in the
            loader, or `num_workers=0`.
        kwargs: Arguments of the file backend.
    """

    shown = ('io_backend', 'num_threads', 'device')

    def __init__(
        self, io_backend: str = 'disk', num_threads: int = 1, device: str = 'cpu', **kwargs: Any
    ) -> None:
        super().__init__(io_backend, **kwargs)
        self.num_threads = num_threads
        self.device = device

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        content = self._content(filename, results)
        return TorchCodecReader(filename, content, self.num_threads, self.device)


@TRANSFORMS.register_module()
class TorchCodecDecode(VideoDecode):
    """Decode frames with torchcodec."""

    shown = ()

    def __init__(self) -> None:
        super().__init__()
