"""Files that are written whole or not at all, and folders that one process at a time writes to."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mmaction.errors import FileWriteError

from .remote import is_remote, uploaded

__all__ = [
    'JsonLines',
    'atomic_path',
    'file_digest',
    'lock',
    'partial_path',
    'remove_partials',
    'save_figure',
    'write_bytes',
    'write_json',
    'write_lines',
    'write_text',
]


_PARTIAL = re.compile(r'\.[0-9a-f]{16}\.([0-9]+)-[0-9a-f]{8}\.part')


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    with Path(path).open('rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def partial_path(path: Path) -> Path:
    """A new name for a file while it is being written.

    It is hidden, beside the file, never too long, and no other process's.
    """
    digest = hashlib.sha1(os.fsencode(path.name), usedforsecurity=False).hexdigest()
    return path.with_name(f'.{digest[:16]}.{os.getpid()}-{secrets.token_hex(4)}.part')


def remove_partials(folder: str | Path, *, recursive: bool = False) -> None:
    """Remove what processes that were killed have left of what they were writing.

    What a process of this machine is writing stays: it may work in a folder above
    or below, whose lock is another.

    Args:
        folder: Where to look.
        recursive: Look into its folders as well, links not followed.
    """
    for root, folders, files in os.walk(folder):
        for name in filter(_is_left_over, files):
            Path(root, name).unlink(missing_ok=True)
        for name in filter(_is_left_over, folders):
            shutil.rmtree(Path(root, name), ignore_errors=True)
        folders[:] = [name for name in folders if recursive and not _PARTIAL.fullmatch(name)]


def _is_left_over(name: str) -> bool:
    """Whether a name is that of a part whose writer has ended, or is this process."""
    match = _PARTIAL.fullmatch(name)
    if match is None:
        return False
    writer = int(match[1])
    if writer == os.getpid() or os.name != 'posix':
        return True
    try:
        os.kill(writer, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # another user's
    return False


@contextmanager
def lock(path: str | Path, what: str, *, is_file: bool = False) -> Iterator[None]:
    """Keep other processes that lock the same file or folder out while the block runs.

    The lock is the process's own: it ends with it, however that ends, and
    children do not inherit it. File systems without locks are not guarded.

    Args:
        path: A folder, which is made if missing, or a file.
        what: What works on it, for the message.
        is_file: Whether it is a file: a folder's name may have a dot as well.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    path = Path(path)
    folder = path.parent if is_file else path
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (f'.{path.name}.lock' if is_file else '.lock')
    held = _locked(file, path, what)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it before sees that it is gone.
        if held is not None:
            file.unlink(missing_ok=True)
            held.close()


def _locked(path: Path, of: Path, what: str) -> IO[str] | None:
    """The lock file, open and locked; None where the system or file system has no locks."""
    if sys.platform == 'win32':
        return None
    import fcntl

    while True:
        file = path.open('a+', encoding='utf-8')
        try:
            # Not flock, which children that are forked would hold on to.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                # For messages alone: the lock holds on a full disk, too.
                with suppress(OSError):
                    os.truncate(file.fileno(), 0)
                    os.write(file.fileno(), f'process {os.getpid()} on {platform.node()}'.encode())
                return file
        except FileNotFoundError:
            pass  # removed by its holder in between
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                file.close()
                return None
            file.seek(0)
            holder = file.read() or 'another process'
            file.close()
            raise BlockingIOError(
                f'{of} is in use by another {what} ({holder}): wait until it ends, or '
                'choose another folder'
            ) from None
        file.close()


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if the block ends well.

    At no instant does `path` hold half of the new content: before the end it is
    what it was, or missing. Missing folders are made. A remote file is written here first.

    Args:
        path: The file, here or elsewhere.
        durable: Wait until the bytes, and the new name, have reached the disk: a
            power cut right after the block then loses nothing.

    Raises:
        FileWriteError: The disk is full, there is no permission, and so on.
        RemoteFileError: Likewise of a remote file.
    """
    if is_remote(path):
        with uploaded(path) as part:
            yield part
        return
    path = Path(path)
    part = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if durable:
            _sync(part)
        part.replace(path)
        if durable and os.name == 'posix':
            _sync(path.parent)
    except OSError as error:
        # The block may read, too: other errors are not of this file.
        if error.filename in (None, str(part), str(path), str(path.parent)) and error.errno:
            raise _write_error(path, error.errno) from error
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write_error(path: Path, number: int) -> FileWriteError:
    return FileWriteError(number, f'cannot write {path}: {os.strerror(number)}')


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


def write_json(path: str | Path, value: object, *, indent: int | None = 2) -> None:
    """Write a value as JSON, with a line break at the end."""
    write_text(path, json.dumps(value, indent=indent) + '\n')


def save_figure(figure: Any, path: str | Path, **options: Any) -> None:
    """Write a figure of matplotlib, in the format that the ending names (PNG without one).

    Args:
        figure: The figure.
        path: The file.
        options: For `figure.savefig`.
    """
    with atomic_path(path) as part:
        figure.savefig(part, format=Path(path).suffix[1:] or 'png', **options)


class JsonLines:
    """A file to which JSON values are added, each on a line that is there when `add` returns.

    What a killed process has left of a line is ended, so that readers can skip it.

    Args:
        path: The file; folders above it are made.

    Raises:
        FileWriteError: The disk is full, there is no permission, and so on; of `add`, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open('ab', buffering=0)
        except OSError as error:
            raise _write_error(path, error.errno or errno.EIO) from error
        if path.stat().st_size:
            self._write(b'\n')

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, value: object) -> None:
        """Write a value."""
        self._write(json.dumps(value).encode() + b'\n')

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise _write_error(self._path, error.errno or errno.EIO) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
