"""Which classes a flip turns into which, told from their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ['mirrored_labels']

_PAIRS = {
    'horizontal': [('left', 'right'), ('clockwise', 'counterclockwise')],
    'vertical': [('up', 'down'), ('clockwise', 'counterclockwise')],
}
_COUNTER = re.compile(r'(?:counter|anti)[-_ ]?clockwise')
_ENDING = '(wards?|s|side|most|hand(?:ed)?|wing)?'


def mirrored_labels(
    classes: Sequence[str], direction: str
) -> tuple[dict[int, int], frozenset[int]]:
    """Labels that a flip swaps, and labels of which no clip may be flipped.

    `turn left` becomes `turn right` where both are classes. A class whose name tells a
    direction without its counterpart among the classes must not be flipped at all, nor
    one whose name has no letters and so tells nothing.

    Args:
        classes: Names in the order of their labels.
        direction: 'horizontal' or 'vertical'.

    Returns:
        Label -> label of the mirrored clip for those that change, and the labels that must
        stay as they are.
    """
    labels = {_plain(name): label for label, name in enumerate(classes)}
    swaps, fixed = {}, set()
    for label, name in enumerate(classes):
        mirrored = _mirrored(_plain(name), direction)
        if mirrored in labels:
            if labels[mirrored] != label:
                swaps[label] = labels[mirrored]
        else:
            fixed.add(label)
        if not any(letter.isalpha() for letter in name):
            fixed.add(label)
    return swaps, frozenset(fixed)


def _plain(name: str) -> str:
    """A name in small letters, words apart: `TurnLeft`, `turn_left` and `turn left` are one."""
    apart = re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name)
    small = _COUNTER.sub('counterclockwise', apart.lower())
    return ' '.join(re.split(r'[\W_]+', small)).strip()


def _mirrored(name: str, direction: str) -> str:
    other = {a: b for pair in _PAIRS[direction] for a, b in (pair, pair[::-1])}
    words = '|'.join(sorted(other, key=len, reverse=True))
    return re.sub(rf'\b({words}){_ENDING}\b', lambda m: other[m[1]] + (m[2] or ''), name)
