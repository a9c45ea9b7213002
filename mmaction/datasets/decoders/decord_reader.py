"""Frames by decord, and by decord or PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from ..errors import UnreadableVideoError
from .pyav_reader import PyAVReader
from .reader import Indices, key_before, read_once, unreadable


class DecordReader:
    """Frames by decord.

    decord fills frames that it cannot decode with their neighbours; here that
    is an error.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to decord.

    Raises:
        UnreadableVideoError: decord cannot open the file.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        import decord

        self.filename = filename
        # decord's errors have no common base, and its checks of a file are assertions.
        self._errors = (
            decord.DECORDError,
            decord.DECORDLimitReachedError,
            AssertionError,
            RuntimeError,
            IndexError,
        )
        source = filename if content is None else io.BytesIO(content)
        with unreadable(filename, *self._errors):
            # Any frame that was filled in exceeds this tolerance.
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
            frames = self._reader.get_batch(indices)
            # decord's own `asnumpy` would copy.
            return torch.from_dlpack(frames.to_dlpack()).numpy()

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self.get_batch(key_before(np.asarray(self._reader.get_key_indices()), indices))

    def close(self) -> None:
        """Close the file."""
        self._reader = None


class FallbackReader:
    """Frames by decord, or by PyAV where decord fails, in opening or in decoding.

    `fallback` then holds what decord said, else None.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to the decoder.

    Raises:
        UnreadableVideoError: Neither can open the file.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        self.filename = filename
        self.fallback: str | None = None
        self._arguments = (filename, content, num_threads)
        self._reader: DecordReader | PyAVReader
        try:
            self._reader = DecordReader(*self._arguments)
        except UnreadableVideoError as error:
            self._fall_back(error)

    def _fall_back(self, error: UnreadableVideoError) -> None:
        try:
            self._reader = PyAVReader(*self._arguments)
        except UnreadableVideoError as second:
            raise self._both(error.reason, second) from None
        self.fallback = error.reason

    def _both(self, first: str, second: UnreadableVideoError) -> UnreadableVideoError:
        return UnreadableVideoError(self.filename, f'{second.reason} (PyAV); {first} (decord)')

    def __len__(self) -> int:
        return len(self._reader)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return self._reader.get_avg_fps()

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return self._try(lambda reader: reader.get_batch(indices))

    def _try(self, read: Callable[[DecordReader | PyAVReader], np.ndarray]) -> np.ndarray:
        if self.fallback is None:
            try:
                return read(self._reader)
            except UnreadableVideoError as error:
                self._fall_back(error)
        try:
            return read(self._reader)
        except UnreadableVideoError as second:
            raise self._both(str(self.fallback), second) from None

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self._try(lambda reader: reader.get_key_frames(indices))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
