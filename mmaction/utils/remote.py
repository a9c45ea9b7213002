"""Files that are not on this machine: `s3://`, `gs://`, `hf://`, `http(s)://`, `memory://`, ...

Paths of local files pass through all functions, so callers need not tell the two apart. What is
asked for is repeated and limited in time (`remote_access.py`), what arrives is checked, and files
may be kept in a local cache (`file_cache.py`).
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mmaction.errors import RemoteFileError

from .file_cache import FileCache
from .ranged_file import RangedFile
from .remote_access import (
    SCHEMES,
    AnyPath,
    Settings,
    is_remote,
    parse_size,
    redacted,
    retried,
    scheme_of,
    settings,
    uri_of,
)

__all__ = [
    'SCHEMES',
    'Settings',
    'cache_folder',
    'exists',
    'file_size',
    'is_remote',
    'list_folder',
    'local_path',
    'open_file',
    'parse_size',
    'ranged_file',
    'read_bytes',
    'read_or_open',
    'redacted',
    'remove_file',
    'settings',
    'uploaded',
    'uri_of',
]

_OBJECT_STORES = ('s3', 's3a', 'gs', 'gcs', 'hf', 'http', 'https', 'az', 'abfs')
_BLOCK = 4 << 20


def read_bytes(
    path: AnyPath,
    start: int | None = None,
    end: int | None = None,
    *,
    fresh: bool = False,
    options: dict[str, Any] | None = None,
) -> bytes:
    """The bytes of a file, or those from `start` to before `end`.

    Args:
        path: Local or remote.
        start: First byte, with `end`.
        end: Byte after the last one.
        fresh: Leave the cache alone; for files that may change.
        options: Arguments of fsspec's file system.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be read, or is shorter than that.
    """
    if not is_remote(path):
        with Path(path).open('rb') as local:
            local.seek(start or 0)
            return local.read(-1 if end is None else end - (start or 0))
    if settings().cache is not None and not fresh:
        # Ranges are of shards: neighbors will be wanted soon, so the whole shard is kept.
        with _cached(path, options) as file:
            file.seek(start or 0)
            return file.read(-1 if end is None else end - (start or 0))

    def fetch(found: Any, inside: str) -> bytes:
        if start is None or end is None:
            content: bytes = found.cat_file(inside, start=start, end=end)
            return content
        part = _part(found, inside, start, end)
        return part if len(part) == end - start else part[start:end]

    return retried(path, fetch, options, reading=True)


def _part(found: Any, inside: str, start: int, end: int) -> bytes:
    """A range of a file, or the whole one from a server that does not know ranges."""
    content: bytes = found.cat_file(inside, start=start, end=end)
    if len(content) < end - start:
        raise OSError(f'it broke off after {len(content)} of {end - start} bytes')
    return content


def _cached(path: AnyPath, options: dict[str, Any] | None = None, version: str = '') -> BinaryIO:
    """An open file of the cache, which stays readable when it falls out of it."""
    given = settings()
    folder = cache_folder()
    uri = uri_of(path)
    cache = FileCache(folder, given.cache_bytes)
    return cache.open(f'{uri}\n{version}', lambda part: _download(uri, part, options))


def cache_folder() -> Path:
    """Where copies are kept: MMACTION_CACHE, else `~/.cache/dualformer`."""
    given = settings().cache
    if given is not None:
        return given
    root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(root).expanduser() / 'dualformer'


def _download(uri: str, part: Path, options: dict[str, Any] | None = None) -> None:
    def fetch(found: Any, inside: str) -> None:
        size = found.info(inside).get('size')
        found.get_file(inside, str(part))
        arrived = part.stat().st_size
        if size is not None and size != arrived:
            raise OSError(f'it broke off after {arrived} of {size} bytes')

    retried(uri, fetch, options, reading=True)


def local_path(path: AnyPath) -> Path:
    """A local copy of a file as it is now; a local path is returned as it is.

    The copy is kept in the cache (MMACTION_CACHE, else `~/.cache/dualformer`), in which another
    process may need the place later: open it at once.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be read.
    """
    if not is_remote(path):
        return Path(path)
    facts = _facts(path)
    version = f'size={facts.get("size")} {_version(facts)}'
    with _cached(path, version=version) as file:
        return Path(file.name)


def _facts(path: AnyPath) -> dict[str, Any]:
    """What the server says of a file now, not what fsspec remembers of its folder."""

    def ask(found: Any, inside: str) -> dict[str, Any]:
        found.invalidate_cache()
        facts: dict[str, Any] = found.info(inside)
        return facts

    return retried(path, ask, reading=True)


_VERSIONS = (
    'ETag', 'etag', 'LastModified', 'Last-Modified', 'mtime', 'created', 'md5Hash', 'generation',
)  # fmt: skip


def _version(facts: dict[str, Any]) -> str | None:
    """What changes with the content of a file; None if the server says nothing of the kind."""
    said = [f'{name}={facts[name]}' for name in _VERSIONS if name in facts]
    return ' '.join([f'size={facts.get("size")}', *said]) if said else None


def file_size(path: AnyPath) -> int | None:
    """Bytes of a file; None where the server does not say.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be asked for.
    """
    if not is_remote(path):
        return Path(path).stat().st_size
    return _facts(path).get('size')


def exists(path: AnyPath) -> bool:
    """Whether there is such a file or folder.

    Raises:
        RemoteFileError: The server does not answer, which is not the same as "no".
    """
    if not is_remote(path):
        return os.path.exists(path)

    def ask(found: Any, inside: str) -> bool:
        found.invalidate_cache()
        found.info(inside)
        return True

    try:
        return retried(path, ask)
    except FileNotFoundError:
        return False


def list_folder(path: AnyPath) -> list[str]:
    """Paths of the files of a folder, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not is_remote(path):
        return sorted(str(each) for each in Path(path).iterdir() if each.is_file())

    def ask(found: Any, inside: str) -> list[str]:
        found.invalidate_cache()
        facts = found.ls(inside, detail=True)
        names = (found.unstrip_protocol(f['name']) for f in facts if f['type'] == 'file')
        return sorted(map(uri_of, names))

    return retried(path, ask)


def remove_file(path: AnyPath) -> None:
    """Remove a file, if it is there."""
    if not is_remote(path):
        Path(path).unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        retried(path, lambda found, inside: found.rm_file(inside))


@contextmanager
def uploaded(path: AnyPath) -> Iterator[Path]:
    """Give a local path to write to, whose content becomes the remote file if the block ends well.

    Object stores show a file when it is whole, so there is no half-written one either.

    Raises:
        RemoteFileError: It cannot be written, or has arrived with another size.
    """
    with tempfile.TemporaryDirectory(prefix='upload-') as folder:
        part = Path(folder, 'content')
        yield part

        def put(found: Any, inside: str) -> None:
            if scheme_of(path) not in _OBJECT_STORES:
                found.makedirs(inside.rpartition('/')[0], exist_ok=True)
            found.put_file(str(part), inside)
            found.invalidate_cache()
            size = found.info(inside).get('size')
            if size is not None and size != part.stat().st_size:
                raise OSError(f'{size} of {part.stat().st_size} bytes have arrived')

        try:
            retried(path, put)
        except (FileNotFoundError, NotImplementedError) as error:
            raise RemoteFileError(
                f'cannot write {redacted(path)}: {str(error) or "this protocol only reads"}'
            ) from None


def read_or_open(path: AnyPath, largest: int) -> bytes | BinaryIO:
    """The bytes of a file of at most `largest` bytes, a file object of a larger one.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be read.
    """
    if is_remote(path) and settings().cache is None:
        return open_file(path) if (file_size(path) or 0) > largest else read_bytes(path)
    # Without asking the server: a file of the cache needs no network.
    file = open_file(path)
    if os.fstat(file.fileno()).st_size > largest:
        return file
    with file:
        return file.read()


def open_file(path: AnyPath) -> BinaryIO:
    """A file object for reading; a remote file is read by ranges as they are asked for.

    With MMACTION_CACHE a remote file is copied there first.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be read.
    """
    if not is_remote(path):
        return Path(path).open('rb')
    if settings().cache is not None:
        return _cached(path)
    size = file_size(path)
    if size is None:
        return io.BytesIO(read_bytes(path))
    ranges = RangedFile(
        size, lambda start, end: read_bytes(path, start, end, fresh=True), None, _BLOCK
    )
    return io.BufferedReader(ranges, _BLOCK)


def ranged_file(path: AnyPath) -> RangedFile | None:
    """A remote file that is read by ranges; None if its server does not know them.

    Raises:
        FileNotFoundError: There is no such file.
        RemoteFileError: It cannot be asked for.
    """
    facts = _facts(path)
    size = facts.get('size')
    if size is None or facts.get('partial') is False:
        return None

    def fetch(start: int, end: int) -> bytes:
        return retried(path, lambda found, inside: _part(found, inside, start, end), reading=True)

    version = _version(facts)
    return RangedFile(size, fetch, version and f'{uri_of(path)}\n{version}')
