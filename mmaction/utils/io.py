"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ['atomic_path', 'partial_path', 'write_bytes', 'write_json', 'write_lines', 'write_text']


def partial_path(path: Path) -> Path:
    """Where a file is while it is being written: hidden, beside it, and never too long a name."""
    digest = hashlib.sha1(os.fsencode(path.name), usedforsecurity=False).hexdigest()
    return path.with_name(f'.{digest[:16]}.part')


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if the block ends well.

    At no instant does `path` hold half of the new content: before the end it is
    what it was, or missing. Missing folders are made.

    Args:
        path: The file.
        durable: Wait until the bytes, and the new name, have reached the disk: a
            power cut right after the block then loses nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial_path(path)
    try:
        yield part
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable and os.name == 'posix':
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    # Windows syncs only what is open for writing, POSIX opens folders only for reading.
    handle = os.open(path, os.O_RDONLY if os.name == 'posix' else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot sync a folder
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines of text; file names that are not UTF-8 pass through as they are."""
    with (
        atomic_path(path) as part,
        part.open('w', encoding='utf-8', errors='surrogateescape', newline='\n') as file,
    ):
        file.writelines(f'{line}\n' for line in lines)


def write_text(path: str | Path, text: str, *, durable: bool = False) -> None:
    """Write a text in UTF-8."""
    write_bytes(path, text.encode(), durable=durable)


def write_bytes(path: str | Path, content: bytes, *, durable: bool = False) -> None:
    """Write bytes."""
    with atomic_path(path, durable=durable) as part:
        part.write_bytes(content)


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a value as JSON, with a line break at the end."""
    write_text(path, json.dumps(value, indent=indent) + '\n')
