"""A folder of copies of remote files: bounded, and shared by any number of processes."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

__all__ = ['FileCache', 'waiting_lock']

_WRITTEN: dict[Path, int] = {}
"""Bytes that this process has added to each folder since it last counted what is there."""

_STALE = 86400.0  # seconds after which a half-written file is that of a killed process


class FileCache:
    """Copies of files, of which those that were not used for longest make room.

    A file is fetched by one process while the others that want it wait. What one process has
    open stays readable to it when another removes it. To list the folder at each file would
    take too long, so a process does so after each 1/200 of the size that it has written, and
    then frees a tenth: up to twenty processes at once stay within the size.

    Args:
        folder: Where copies are kept; it is made if missing.
        max_bytes: Size of all copies.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def open(self, key: str, fetch: Callable[[Path], None]) -> BinaryIO:
        """A copy, open for reading.

        Args:
            key: What tells the file from all others.
            fetch: Writes the file to the path it is given; called if there is no copy.
        """
        path = self._path(key)
        while True:
            with suppress(FileNotFoundError):
                file = path.open('rb')
                # Not the access time, which most file systems do not keep.
                with suppress(OSError):
                    os.utime(path)
                return file
            path.parent.mkdir(parents=True, exist_ok=True)
            with waiting_lock(path.with_suffix('.lock')):
                if not path.exists():
                    self._add(path, fetch)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(os.fsencode(key)).hexdigest()
        return self.folder / name[:2] / name

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def _add(self, path: Path, fetch: Callable[[Path], None]) -> None:
        part = path.with_suffix(f'.{os.getpid()}.part')
        try:
            fetch(part)
            size = part.stat().st_size
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        # The first time, what earlier runs have left is counted, too.
        written = _WRITTEN.get(self.folder, self.max_bytes) + size
        _WRITTEN[self.folder] = written
        if written >= self.max_bytes / 200:
            _WRITTEN[self.folder] = 0
            with waiting_lock(self.folder / 'evict.lock'):
                self._evict(keep=path)

    def _evict(self, keep: Path) -> None:
        """Remove the oldest copies if there are too many bytes, and what was never finished."""
        found = []
        for path in self.folder.glob('??/*'):
            with suppress(FileNotFoundError):
                facts = path.stat()
                if path.suffix == '.part' and time.time() - facts.st_mtime > _STALE:
                    path.unlink()
                elif not path.suffix and path != keep:
                    found.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in found) + keep.stat().st_size
        if total <= self.max_bytes:
            return
        for _, size, path in sorted(found):
            if total <= 0.9 * self.max_bytes:
                break
            path.unlink(missing_ok=True)
            path.with_suffix('.lock').unlink(missing_ok=True)
            total -= size


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, once other processes have let go of it.

    The lock ends with its process, however that ends. File systems without locks are not guarded.
    """
    if sys.platform == 'win32':
        yield
        return
    import fcntl

    file: IO[str]
    while True:
        file = path.open('a', encoding='utf-8')
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:
            pass  # removed in between
        file.close()
    with file:
        yield
