"""Frames by decord."""

from __future__ import annotations

import io

import numpy as np

from .reader import Indices, plain_path, read_once, unreadable

__all__ = ['DecordReader']


class DecordReader:
    """Frames by decord, an optional extra, which is not exact.

    It seeks by time stamps and returns wrong frames without a word where pictures that precede
    a key frame in time follow it in the file (open groups of pictures), and in some containers.
    It does not mirror, and does not know edit lists. It fills frames that it cannot decode with
    their neighbors; here that is an error.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to decord.

    Raises:
        UnreadableVideoError: decord cannot open the file.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        try:
            import decord
        except ImportError as error:
            raise ImportError(
                f'{error}: decord is an extra (pip install decord2); the default needs none'
            ) from error

        # What FFmpeg says of a file on standard error names no file; the error raised here does.
        decord.logging.set_level(decord.logging.QUIET)
        self.filename = filename
        # decord's errors have no common base, and its checks of a file are assertions.
        self._errors = (
            decord.DECORDError,
            decord.DECORDLimitReachedError,
            AssertionError,
            RuntimeError,
            IndexError,
            ValueError,
        )
        source = plain_path(filename) if content is None else io.BytesIO(content)
        with unreadable(filename, *self._errors):
            # Why not decord's default? It repeats the last good frame for each that it cannot
            # decode, and says nothing. Any frame that was filled in exceeds this tolerance.
            self._reader = decord.VideoReader(source, num_threads=num_threads, fault_tol=1e-9)
            self._fps = float(self._reader.get_avg_fps())

    def __len__(self) -> int:
        return len(self._reader)

    def get_avg_fps(self) -> float:
        """Frames per second."""
        return self._fps

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        import torch

        with unreadable(self.filename, *self._errors):
            # Why not seek and decode frame by frame? For a batch decord itself decides where going
            # on is cheaper than seeking back to a key frame.
            frames = self._reader.get_batch(indices)
            # decord's own `asnumpy` would copy.
            return torch.from_dlpack(frames.to_dlpack()).numpy()

    def close(self) -> None:
        """Close the file."""
        # decord has no call for it: the file is closed as the last reference goes.
        self._reader = None
