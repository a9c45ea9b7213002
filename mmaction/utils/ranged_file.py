"""A file elsewhere that is read by byte ranges."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ['RangedFile']

_FIRST_BLOCK = 64 << 10
_LARGEST_BLOCK = 4 << 20
_KEPT = 4


class RangedFile(io.RawIOBase):
    """A file object over a function that fetches byte ranges.

    What is read is fetched in blocks, each twice as large as the one that it follows; what is
    announced by `want`, with one call.

    Args:
        size: Bytes of the file.
        fetch: Gives the bytes from one position to before another one, or the whole file, as
            servers do that do not know ranges.
        version: What tells the content from that of other files and times; None if nothing does.
        block: Size of the first block.
    """

    def __init__(
        self,
        size: int,
        fetch: Callable[[int, int], bytes],
        version: str | None = None,
        block: int = _FIRST_BLOCK,
    ) -> None:
        self.size = size
        self.version = version
        self._fetch = fetch
        self._smallest = self._block = block
        self._at = 0
        self._wanted: list[tuple[int, int]] = []
        # The last parts that were fetched: (position, content).
        self._parts: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        """The file can be read."""
        return True

    def seekable(self) -> bool:
        """The position can be changed."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, which fetches nothing."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def want(self, spans: Iterable[tuple[int, int]]) -> None:
        """Announce what is about to be read: each span with one call, near ones together.

        Args:
            spans: (first byte, byte after the last one), in increasing order.
        """
        self._wanted = []
        for start, end in spans:
            if self._wanted and start - self._wanted[-1][1] < self._smallest:
                start, last = self._wanted.pop()
                end = max(last, end)
            self._wanted.append((start, min(end, self.size)))

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; less than it holds where what has been fetched ends."""
        if self._at >= self.size or not len(buffer):
            return 0
        start, content = self._part()
        piece = content[self._at - start : self._at - start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _part(self) -> tuple[int, bytes]:
        """The part with the next byte."""
        for start, content in reversed(self._parts):
            if start <= self._at < start + len(content):
                return start, content
        start = self._at
        end = next((end for first, end in self._wanted if first <= start < end), None)
        if end is None:
            follows = any(at + len(content) == start for at, content in self._parts)
            self._block = min(2 * self._block, _LARGEST_BLOCK) if follows else self._smallest
            end = min(start + self._block, self.size)
        content = self._fetch(start, end)
        if len(content) > end - start:
            start = 0
        self._parts = [*self._parts[1 - _KEPT :], (start, content)]
        return self._parts[-1]
