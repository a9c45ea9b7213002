"""Opening videos and decoding the chosen frames.

An `...Init` transform opens the file in the worker and writes `video_reader`,
`total_frames`, `avg_fps`; the `...Decode` transform of the same decoder reads
`frame_inds` and writes `imgs`, one uint8 RGB array (T, H, W, 3), with
`original_shape` and `img_shape` (h, w).
"""

from __future__ import annotations

import os.path as osp
from typing import Any

import numpy as np
from mmengine.fileio import FileClient

from mmaction.registry import TRANSFORMS

from ..decoders import BlankReader, DecordReader, PyAVReader, VideoReader
from ..errors import UnreadableVideoError
from .base import BaseTransform

__all__ = ['DecordDecode', 'DecordInit']


class _VideoInit(BaseTransform):
    """Open `filename` ('.mp4' is added to a name without extension).

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file clients.
        kwargs: Arguments of the file client.
    """

    shown: tuple[str, ...] = ('io_backend',)

    def __init__(self, io_backend: str = 'disk', **kwargs: Any) -> None:
        self.io_backend = io_backend
        self.kwargs = kwargs

    def _content(self, filename: str) -> bytes | None:
        """The bytes of the file; None if decoders may open the path themselves."""
        if self.io_backend == 'disk':
            return None
        return FileClient(self.io_backend, **self.kwargs).get(filename)

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        raise NotImplementedError

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Open the video of `results`.

        Raises:
            UnreadableVideoError: It cannot be opened.
        """
        filename = results['filename']
        if not osp.splitext(filename)[1]:
            filename = f'{filename}.mp4'
        if results.get('blank'):
            reader: VideoReader = BlankReader(filename)
        else:
            reader = self.open(filename, results)
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.get_avg_fps()
        return results


class _VideoDecode(BaseTransform):
    """Decode the frames `frame_inds` of `video_reader`, then close it."""

    def read(self, reader: VideoReader, frame_inds: np.ndarray, results: dict[str, Any]) -> Any:
        """The frames."""
        return reader.get_batch(frame_inds)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Decode the frames chosen in `results`.

        Raises:
            UnreadableVideoError: A frame cannot be decoded.
        """
        results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        reader = results['video_reader']
        results['imgs'] = self.read(reader, results['frame_inds'], results)
        reader.close()
        results['video_reader'] = None
        results['original_shape'] = results['img_shape'] = results['imgs'].shape[1:3]
        return results


@TRANSFORMS.register_module()
class DecordInit(_VideoInit):
    """Open a video with decord, or with PyAV where decord cannot.

    In the second case the reason is written to `decoder_fallback`.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file clients.
        num_threads: Decoding threads; 0 leaves the number to decord.
        kwargs: Arguments of the file client.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('io_backend', 'num_threads')

    def __init__(self, io_backend: str = 'disk', num_threads: int = 1, **kwargs: Any) -> None:
        super().__init__(io_backend, **kwargs)
        self.num_threads = num_threads

    def open(self, filename: str, results: dict[str, Any]) -> VideoReader:
        """The reader of a file."""
        content = self._content(filename)
        try:
            return DecordReader(filename, content, self.num_threads)
        except UnreadableVideoError as error:
            reader = PyAVReader(filename, content, self.num_threads)
            results['decoder_fallback'] = error.reason
            return reader


@TRANSFORMS.register_module()
class DecordDecode(_VideoDecode):
    """Decode frames with decord, or with PyAV where decord cannot.

    Args:
        mode: 'accurate' gives the very frames; 'efficient' the key frames at or
            before them, which is faster and may repeat frames.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('mode',)

    def __init__(self, mode: str = 'accurate') -> None:
        if mode not in ('accurate', 'efficient'):
            raise ValueError(f"mode must be 'accurate' or 'efficient', found {mode!r}")
        self.mode = mode

    def read(self, reader: VideoReader, frame_inds: np.ndarray, results: dict[str, Any]) -> Any:
        """The frames."""
        if self.mode == 'efficient' and isinstance(reader, DecordReader):
            return reader.get_key_frames(frame_inds)
        return reader.get_batch(frame_inds)
