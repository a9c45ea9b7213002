"""The known name that a misspelt one may mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = ['close_names', 'did_you_mean', 'missing_file', 'other_kind']


def close_names(
    name: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6
) -> list[str]:
    """The known names that are nearest to a name, the nearest first.

    Args:
        name: The name that was given.
        known: The names that exist.
        count: How many to return at most.
        cutoff: Least similarity, from 0 (anything) to 1 (the same), as in `difflib`.
    """
    return difflib.get_close_matches(name, sorted(known), n=count, cutoff=cutoff)


def did_you_mean(
    name: str,
    known: Iterable[str],
    *,
    count: int = 1,
    cutoff: float = 0.6,
    list_known: bool = False,
) -> str:
    """The end of an error message: `'; did you mean "x"?'`, or nothing.

    Args:
        name: As in `close_names`.
        known: As in `close_names`.
        count: As in `close_names`.
        cutoff: As in `close_names`.
        list_known: Where no name is near, list all: `'; known are x, y'`.
    """
    known = sorted(known)
    near = [f'"{each}"' for each in close_names(name, known, count=count, cutoff=cutoff)]
    if near:
        return f'; did you mean {" or ".join(filter(None, [", ".join(near[:-1]), near[-1]]))}?'
    return f'; known are {", ".join(known)}' if list_known and known else ''


def other_kind(path: str | Path, what: str) -> str | None:
    """The message for a file that by its name is of another kind than expected, else None.

    Args:
        path: A file that is there.
        what: What it should be: 'config file', 'checkpoint', 'video file ...'.
    """
    from .file_types import VIDEO_EXTENSIONS

    kinds = {
        'checkpoint': ('.pth', '.pt', '.safetensors'),
        'config file': ('.json', '.py', '.yaml', '.yml'),
        'video': (*VIDEO_EXTENSIONS, '.gif'),
    }
    suffix = Path(path).suffix.lower()
    kind = next((kind for kind, suffixes in kinds.items() if suffix in suffixes), None)
    if kind is None or kind in what or not Path(path).is_file():
        return None
    swapped = {kind, what} == {'checkpoint', 'config file'}
    hint = '; are the config and the checkpoint swapped?' if swapped else ''
    return f'{path} is a {kind}, expected a {what}{hint}'


_ADVICE = {
    'checkpoint': ': correct the path, or get the file (checkpoints/README.md says where released '
    'weights are)'
}


def missing_file(path: str | Path, what: str) -> str:
    """The message for a file that is not there, with the nearest one of its folder.

    Args:
        path: Where it should be.
        what: What it should be: 'config file', 'checkpoint', ...
    """
    path = Path(path)
    if path.exists():
        kind = 'a folder' if path.is_dir() else 'no regular file'
        return f'{path} is {kind}, expected a {what}'
    message = f'there is no {what} {path}'
    if not path.parent.is_dir():
        return f'{message}: the folder {path.parent} does not exist'
    names = [other.name for other in path.parent.glob(f'*{path.suffix}')]
    near = close_names(path.name, names, cutoff=0.5)
    if near:
        return f'{message}; did you mean {path.parent / near[0]}?'
    return message + _ADVICE.get(what, '')
