"""Frames by torchcodec where it is exact, by PyAV elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .checked_reader import CheckedReader, is_upright
from .pyav_reader import PyAVReader
from .reader import Indices, plain_path, read_once, unreadable

__all__ = ['TorchCodecReader']


class TorchCodecReader(CheckedReader):
    """Frames by torchcodec (an optional extra), on the CPU or by a GPU's decoder.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads on the CPU; 0 leaves the number to FFmpeg.
        device: Where to decode, 'cpu' or for example 'cuda:0'. Frames come back
            to the CPU in any case. A GPU gets neither rotated nor interlaced video.

    Raises:
        ImportError: torchcodec or the FFmpeg libraries it needs are not installed.
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    decoder = 'torchcodec'

    def __init__(
        self,
        filename: str,
        content: bytes | BinaryIO | None = None,
        num_threads: int = 1,
        device: str = 'cpu',
    ) -> None:
        self._device = device
        _import_decoder()
        super().__init__(filename, content, num_threads)

    def _fits(self, reader: PyAVReader) -> bool:
        if not reader.in_plain_order:
            return False
        frame, on_cpu = reader.first_frame(), self._device == 'cpu'
        if frame is None or (frame.interlaced_frame and not on_cpu):
            return False
        return is_upright(frame, turns=on_cpu)

    def _open_fast(self, filename: str, content: bytes | None, num_threads: int) -> _TorchCodec:
        return _TorchCodec(filename, content, num_threads, self._device)


def _import_decoder() -> Callable[..., Any]:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise ImportError(
            'torchcodec cannot be loaded: it needs "pip install torchcodec" and FFmpeg with '
            f'shared libraries; DecordInit needs neither. The cause: {error}'
        ) from error
    decoder: Callable[..., Any] = VideoDecoder
    return decoder


class _TorchCodec:
    """Frames by torchcodec alone; the arguments are those of `TorchCodecReader`."""

    def __init__(self, filename: str, content: bytes | None, num_threads: int, device: str) -> None:
        self.filename = filename
        self._errors = (RuntimeError, ValueError, IndexError, TypeError)
        with unreadable(filename, *self._errors):
            self._decoder = _import_decoder()(
                plain_path(filename) if content is None else content,
                dimension_order='NHWC',
                num_ffmpeg_threads=num_threads,
                device=device,
            )

    def __len__(self) -> int:
        return int(self._decoder.metadata.num_frames or 0)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return float(self._decoder.metadata.average_fps or 0)

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        with unreadable(self.filename, *self._errors):
            frames: np.ndarray = self._decoder.get_frames_at(indices.tolist()).data.cpu().numpy()
            return frames

    def close(self) -> None:
        """Close the file."""
        self._decoder = None
