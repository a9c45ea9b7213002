"""A config as the text of a config file that a person likes to read."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from math import isfinite
from typing import Any

__all__ = ['Name', 'config_source', 'difference']

WIDTH = 100


class Name(str):
    """A value that is written as the name of a variable."""


def config_source(values: Mapping[str, Any]) -> str:
    """Assignments of all values, one after the other.

    Read as a config file the text gives the values again. A block that takes
    several lines has a blank line before it.

    Raises:
        TypeError: A value has no plain form, such as a class or a function.
    """
    parts: list[str] = []
    several = False
    for name, value in values.items():
        text = f'{name} = {_source(value, "", len(name) + 3)}'
        before, several = several, '\n' in text
        if parts and (before or several):
            parts.append('')
        parts.append(text)
    return '\n'.join(parts) + '\n'


def difference(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a config with a base has to say so that it holds the wanted values.

    A dict of the base is changed key by key; one of another type, or without a key
    that the base has, is replaced (`_delete_=True`).
    """
    changes: dict[str, Any] = {}
    for key, value in wanted.items():
        ours = base.get(key)
        if key in base and ours == value and type(ours) is type(value):
            continue
        if isinstance(value, Mapping) and isinstance(ours, Mapping):
            if ours.get('type') != value.get('type') or set(ours) - set(value):
                changes[key] = dict(_delete_=True, **value)
            else:
                changes[key] = difference(ours, value)
        else:
            changes[key] = value
    return changes


def _source(value: object, indent: str, taken: int) -> str:
    """The Python text of a value, on one line if it fits.

    Args:
        value: What to write.
        indent: Blanks before its first line.
        taken: Letters that stand on this line beside the value.
    """
    line = _flat(value)
    if len(indent) + taken + len(line) <= WIDTH or not isinstance(value, (Mapping, list, tuple)):
        return line
    deeper = indent + '    '
    if isinstance(value, Mapping):
        plain = _are_names(value)
        items = []
        for key, item in value.items():
            start = f'{key}=' if plain else f'{key!r}: '
            items.append(start + _source(item, deeper, len(start) + 1))
        first, last = ('dict(', ')') if plain else ('{', '}')
    else:
        items = [_source(item, deeper, 1) for item in value]
        first, last = ('[', ']') if isinstance(value, list) else ('(', ')')
    inner = ''.join(f'{deeper}{item},\n' for item in items)
    return f'{first}\n{inner}{indent}{last}'


def _flat(value: object) -> str:
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, Mapping):
        if _are_names(value):
            return f'dict({", ".join(f"{key}={_flat(item)}" for key, item in value.items())})'
        return f'{{{", ".join(f"{key!r}: {_flat(item)}" for key, item in value.items())}}}'
    if isinstance(value, list):
        return f'[{", ".join(map(_flat, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_flat, value))}{"," if len(value) == 1 else ""})'
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, float):  # numpy's are floats, too, and say so in their repr
            return repr(float(value)) if isfinite(value) else f"float('{float(value)}')"
        return repr(value)
    raise TypeError(
        f'{value!r} is a {type(value).__name__}, which a config file cannot hold as text'
    )


def _are_names(values: Mapping[Any, Any]) -> bool:
    """Whether all keys can be keyword arguments."""
    return all(
        isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in values
    )
