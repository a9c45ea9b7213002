"""Frames by a fast decoder where it is exact, by PyAV elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, TypeVar

import numpy as np

from mmaction.errors import UnreadableVideoError

from .pyav_reader import PyAVReader
from .reader import Indices, VideoReader, remote_content
from .upright import display_matrix, upright_filters

__all__ = ['CheckedReader', 'is_upright']

Result = TypeVar('Result')


class CheckedReader:
    """Frames by a decoder that is held against the container, by PyAV where it does not fit.

    PyAV reads the packets first, which takes a few per cent of the time of
    decoding: their number is the number of frames. Files that the decoder is
    known to misread are left to PyAV, and so is one that it fails on or in
    which it counts other frames. `fallback` says why the decoder failed on a
    file that it should have read; it is None otherwise.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, or a file object, if they are not to be read from
            the path.
        num_threads: Decoding threads; 0 leaves the number to the decoder.

    Raises:
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    decoder: ClassVar[str]
    """Name of the decoder, for messages."""

    def __init__(
        self, filename: str, content: bytes | BinaryIO | None = None, num_threads: int = 1
    ) -> None:
        self.filename = filename
        self.fallback: str | None = None
        content = remote_content(filename) if content is None else content
        self._pyav = PyAVReader(filename, content, num_threads)
        self._fast: Any = None
        # Other decoders would read all of a file object into memory.
        if not isinstance(content, bytes | None) or not self._fits(self._pyav):
            return
        try:
            fast = self._open_fast(filename, content, num_threads)
        except UnreadableVideoError as error:
            self.fallback = error.reason
            return
        # Why not ask the decoder alone? Lengths in headers are often wrong, and one that counts
        # fewer frames takes other ones for the same indices. Packets do not lie.
        if len(fast) == len(self._pyav):
            self._fast = fast
        else:
            self.fallback = f'it counts {len(fast)} frames of {len(self._pyav)}'
            fast.close()

    def _fits(self, reader: PyAVReader) -> bool:
        """Whether the decoder is exact on files of this kind."""
        raise NotImplementedError

    def _open_fast(self, filename: str, content: bytes | None, num_threads: int) -> VideoReader:
        """The reader by the decoder."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._pyav)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return self._pyav.get_avg_fps()

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return self._read(lambda reader: reader.get_batch(indices))

    def stream_facts(self) -> dict[str, Any]:
        """See `PyAVReader.stream_facts`."""
        return self._pyav.stream_facts()

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self.get_batch(self._pyav.key_frames_before(indices))

    def _read(self, read: Callable[[Any], Result]) -> Result:
        if self._fast is not None:
            try:
                return read(self._fast)
            except UnreadableVideoError as error:
                # For good: a decoder that has failed once on a file may be out of step from there.
                self.fallback = error.reason
                self._fast = None
        try:
            return read(self._pyav)
        except UnreadableVideoError as error:
            if self.fallback is None:
                raise
            reason = f'{error.reason} (PyAV); {self.fallback} ({self.decoder})'
            raise UnreadableVideoError(self.filename, reason) from None

    def close(self) -> None:
        """Close the file."""
        self._pyav.close()
        if self._fast is not None:
            self._fast.close()
            self._fast = None


def is_upright(frame: Any, turns: bool) -> bool:
    """Whether a frame is shown as it is stored.

    Args:
        frame: An `av.VideoFrame`.
        turns: Count quarter turns, which decoders apply by themselves, as upright too.
    """
    matrix = display_matrix(frame)
    if matrix is None:
        return True
    (a, b, _), (c, d, _), _ = matrix.tolist()
    if not turns or a * d - b * c <= 0:
        return False
    return all(name != 'rotate' for name, _ in upright_filters(matrix))
