"""The error of a clip that cannot be read."""

from __future__ import annotations

__all__ = ['UnreadableVideoError']


class UnreadableVideoError(RuntimeError):
    """A clip cannot be opened or decoded.

    Datasets catch it: in training another sample takes the place, in testing
    the sample is marked as unreadable.

    Args:
        filename: The file or folder.
        reason: What is wrong with it, in words.
    """

    def __init__(self, filename: str, reason: str = '') -> None:
        super().__init__(filename, reason)
        self.filename = str(filename)
        self.reason = reason

    def __str__(self) -> str:
        if not self.reason:
            return self.filename
        return f'{self.filename!r} cannot be read: {self.reason}'
