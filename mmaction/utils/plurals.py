"""Numbers of things in messages."""

from __future__ import annotations

__all__ = ['how_many']


def how_many(number: int, one: str, many: str | None = None) -> str:
    """A number of things in words: `1 epoch`, `20 epochs`.

    Args:
        number: How many there are.
        one: The noun of one of them.
        many: The noun of several; by default that of one with an s.
    """
    return f'{number} {one if number == 1 else many or one + "s"}'
