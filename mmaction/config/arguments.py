"""The keyword arguments that a class or function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ['accepted_arguments']


@cache
def accepted_arguments(target: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Names of the keyword arguments that a class or function takes.

    `**kwargs` of a constructor is followed to the next constructor of the
    method resolution order.

    Returns:
        The names, and whether any other is taken as well.
    """
    if not inspect.isclass(target):
        names, is_open = _parameters(target)
        return frozenset(names), is_open
    collected: set[str] = set()
    for base in target.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        names, is_open = _parameters(vars(base)['__init__'])
        collected |= names
        if not is_open:
            return frozenset(collected), False
    return frozenset(collected), bool(collected)


def _parameters(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """Parameter names, and whether further keyword arguments are taken."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)
