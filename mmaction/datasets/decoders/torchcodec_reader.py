"""Frames by torchcodec."""

from __future__ import annotations

import numpy as np

from mmaction.errors import UnreadableVideoError

from .reader import Indices, plain_path, read_once, unreadable


class TorchCodecReader:
    """Frames by torchcodec (an optional extra), on the CPU or by a GPU's decoder.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads on the CPU; 0 leaves the number to FFmpeg.
        device: Where to decode, 'cpu' or for example 'cuda:0'. Frames come back
            to the CPU in any case.

    Raises:
        ImportError: torchcodec or the FFmpeg libraries it needs are not installed.
        UnreadableVideoError: torchcodec cannot open the file.
    """

    def __init__(
        self,
        filename: str,
        content: bytes | None = None,
        num_threads: int = 1,
        device: str = 'cpu',
    ) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, RuntimeError, OSError) as error:
            raise ImportError(
                'torchcodec cannot be loaded: it needs "pip install torchcodec" and FFmpeg with '
                f'shared libraries; DecordInit needs neither. The cause: {error}'
            ) from error
        self.filename = filename
        self._errors = (RuntimeError, ValueError, IndexError, TypeError)
        with unreadable(filename, *self._errors):
            self._decoder = VideoDecoder(
                plain_path(filename) if content is None else content,
                dimension_order='NHWC',
                num_ffmpeg_threads=num_threads,
                device=device,
            )
        if not self._decoder.metadata.num_frames:
            raise UnreadableVideoError(filename, 'it holds no video frames')

    def __len__(self) -> int:
        return int(self._decoder.metadata.num_frames)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return float(self._decoder.metadata.average_fps or 0)

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        with unreadable(self.filename, *self._errors):
            return self._decoder.get_frames_at(indices.tolist()).data.cpu().numpy()

    def close(self) -> None:
        """Close the file."""
        self._decoder = None
