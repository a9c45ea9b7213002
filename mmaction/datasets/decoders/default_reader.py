"""Frames by decord where it is exact, by PyAV elsewhere."""

from __future__ import annotations

from .checked_reader import CheckedReader, is_upright
from .decord_reader import DecordReader
from .pyav_reader import PyAVReader

__all__ = ['DefaultReader']


class DefaultReader(CheckedReader):
    """Frames by decord, or by PyAV where decord is not exact or fails.

    decord seeks by time stamps and returns wrong frames without a word where
    pictures that precede a key frame in time follow it in the file (open
    groups of pictures), and in some containers. It does not mirror, and does
    not know edit lists. See `CheckedReader` for what is done about it.
    """

    decoder = 'decord'

    def _fits(self, reader: PyAVReader) -> bool:
        if not reader.in_plain_order:
            return False
        frame = reader.first_frame()
        return frame is not None and is_upright(frame, turns=True)

    def _open_fast(self, filename: str, content: bytes | None, num_threads: int) -> DecordReader:
        return DecordReader(filename, content, num_threads)
