"""Frames by decord where it is exact, by PyAV elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmaction.errors import UnreadableVideoError

from .decord_reader import DecordReader
from .pyav_reader import PyAVReader
from .reader import Indices

__all__ = ['DefaultReader']


class DefaultReader:
    """Frames by decord, or by PyAV where decord is not exact or fails.

    decord seeks by time stamps and returns wrong frames without a word where
    pictures that precede a key frame in time follow it in the file (open
    groups of pictures), and in some containers. PyAV reads the packets first,
    which takes a few per cent of the time of decoding, and so such files are
    known. `fallback` says why decord failed on a file that it should have
    read; it is None otherwise.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to the decoder.

    Raises:
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        self.filename = filename
        self.fallback: str | None = None
        self._pyav = PyAVReader(filename, content, num_threads)
        self._decord: DecordReader | None = None
        if not self._pyav.in_plain_order:
            return
        try:
            decord = DecordReader(filename, content, num_threads)
        except UnreadableVideoError as error:
            self.fallback = error.reason
            return
        if len(decord) == len(self._pyav):
            self._decord = decord
        else:
            self.fallback = f'it counts {len(decord)} frames of {len(self._pyav)}'

    def __len__(self) -> int:
        return len(self._pyav)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return self._pyav.get_avg_fps()

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return self._read(lambda reader: reader.get_batch(indices))

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self._read(lambda reader: reader.get_key_frames(indices))

    def _read(self, read: Callable[[DecordReader | PyAVReader], np.ndarray]) -> np.ndarray:
        if self._decord is not None:
            try:
                return read(self._decord)
            except UnreadableVideoError as error:
                self.fallback = error.reason
                self._decord = None
        try:
            return read(self._pyav)
        except UnreadableVideoError as error:
            if self.fallback is None:
                raise
            reason = f'{error.reason} (PyAV); {self.fallback} (decord)'
            raise UnreadableVideoError(self.filename, reason) from None

    def close(self) -> None:
        """Close the file."""
        self._pyav.close()
        self._decord = None
