"""Files that are not on this machine: `s3://`, `gs://`, `hf://`, `http(s)://`, `memory://`, ...

fsspec knows the protocols and where credentials come from. Here is what it leaves to its users:
attempts that are repeated, a limit for connections that stall, a check of what has arrived, a
local cache (`file_cache.py`), and messages without secrets. Paths of local files pass through
all functions, so callers need not tell the two apart.

The environment sets what holds for a whole run, as workers and ranks inherit it:
MMACTION_REMOTE_TIMEOUT (seconds without an answer), MMACTION_REMOTE_RETRIES (attempts after
the first), MMACTION_CACHE (folder in which files are kept) and MMACTION_CACHE_SIZE ('50GB').
"""

from __future__ import annotations

import io
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from mmaction.errors import ConfigError, RemoteFileError

from .file_cache import FileCache
from .ranged_file import RangedFile

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

SCHEMES = (
    's3', 's3a', 'gs', 'gcs', 'hf', 'http', 'https', 'memory', 'az', 'abfs', 'sftp', 'hdfs',
)  # fmt: skip
"""Protocols of files; others, such as `rtsp://` and `timm://`, are no files."""

# One slash is what pathlib leaves of two.
_URI = re.compile(rf'({"|".join(SCHEMES)}):/+')
_SIZE = re.compile(r'([0-9.]+)\s*([KMGT]?)I?B?', re.IGNORECASE)
_OBJECT_STORES = ('s3', 's3a', 'gs', 'gcs', 'hf', 'http', 'https', 'az', 'abfs')
_BLOCK = 4 << 20
_FIRST_WAIT = 0.5  # seconds before the second attempt; doubled before each further one

Result = TypeVar('Result')
AnyPath = str | os.PathLike[str]


class Settings(NamedTuple):
    """How remote files are read.

    Args:
        timeout: Seconds without an answer after which an attempt has failed.
        retries: Attempts after the first one.
        cache: Folder in which clips are kept; None keeps none.
        cache_bytes: Size of what is kept.
    """

    timeout: float
    retries: int
    cache: Path | None
    cache_bytes: int


def settings() -> Settings:
    """What the environment says.

    Raises:
        ConfigError: A variable is not a number or size.
    """
    given = os.environ.get
    try:
        name = 'MMACTION_REMOTE_TIMEOUT'
        timeout = float(given(name, '15'))
        name = 'MMACTION_REMOTE_RETRIES'
        retries = int(given(name, '3'))
        name = 'MMACTION_CACHE_SIZE'
        size = parse_size(given(name, '20GB'))
    except ValueError as error:
        raise ConfigError(f'{name}={given(name)!r} in the environment: {error}') from None
    folder = given('MMACTION_CACHE')
    return Settings(timeout, retries, Path(folder) if folder else None, size)


def parse_size(text: str) -> int:
    """Bytes of a size such as '512MB' or '1.5 GB' (powers of 1000) or '4096'.

    Raises:
        ValueError: It is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[1].count('.') > 1 or match[1] == '.' or not float(match[1]):
        raise ValueError(f"a size is a number with KB, MB, GB or TB, such as '512MB', not {text!r}")
    return int(float(match[1]) * 1000 ** ' KMGT'.index(match[2].upper() or ' '))


def is_remote(path: AnyPath) -> bool:
    """Whether a path is the address of a file elsewhere."""
    return _URI.match(os.fspath(path)) is not None


def uri_of(path: AnyPath) -> str:
    """The address, also where it went through a `Path`, which makes one slash of two."""
    return _URI.sub(r'\1://', os.fspath(path), count=1)


def redacted(path: AnyPath) -> str:
    """A path as messages show it: an address without user, password and query (signatures)."""
    text = os.fspath(path)
    return _without_secrets(uri_of(text)) if is_remote(text) else text


def _without_secrets(text: str) -> str:
    text = re.sub(r'(\w+://)[^/\s@]*@', r'\1', text)
    return re.sub(r'(\w+://[^\s?\'"]*)\?[^\s\'")]*', r'\1', text)


def _filesystem(uri: str, options: dict[str, Any]) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    scheme = uri.partition('://')[0]
    found, path = url_to_fs(uri, **_limits(scheme), **options)
    if scheme in ('s3', 's3a'):
        found.retries = 1  # repeated here: both together would multiply
    return found, path


def _limits(scheme: str) -> dict[str, Any]:
    """Options that end a connection which stalls, beside what fsspec's own config says."""
    from fsspec.config import conf

    seconds = settings().timeout
    if scheme in ('http', 'https'):
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        own = (conf.get(scheme) or {}).get('client_kwargs') or {}
        return {'client_kwargs': {**own, 'timeout': limit}}
    if scheme in ('s3', 's3a'):
        own = (conf.get(scheme) or {}).get('config_kwargs') or {}
        limits = dict(connect_timeout=seconds, read_timeout=seconds, retries={'max_attempts': 0})
        return {'config_kwargs': {**limits, **own}}
    return {}


def _retried(
    path: AnyPath, call: Callable[[Any, str], Result], options: dict[str, Any] | None = None
) -> Result:
    """Call a function with the file system and path of an address, again if it may help.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package of the protocol is not installed.
        RemoteFileError: All attempts failed, or access is denied.
    """
    uri = uri_of(path)
    shown, retries = redacted(uri), settings().retries
    for attempt in range(retries + 1):
        try:
            return call(*_filesystem(uri, options or {}))
        except ImportError as error:
            raise ImportError(
                f'{shown}: {uri.partition("://")[0]}:// needs a package that is not installed '
                f'({error}): pip install "dualformer[remote]"'
            ) from None
        except Exception as raised:
            # `from None`, here and below: the causes may hold the address with its secrets.
            cause = _true_cause(raised)
            if isinstance(cause, FileNotFoundError):
                raise FileNotFoundError(f'there is no file {shown}') from None
            reason = _reason(cause)
            if attempt == retries or not _may_pass(cause):
                tried = f' ({attempt + 1} attempts)' if attempt else ''
                raise RemoteFileError(f'{shown}: {reason}{tried}') from None
        # Random, so that many workers do not come back at the same instant.
        wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)
        _warn(f'{shown}: {reason}; attempt {attempt + 2} of {retries + 1} in {wait:.1f} s')
        time.sleep(wait)
    raise AssertionError


def _true_cause(error: Exception) -> Exception:
    """fsspec says that a file is not there when its web server does not answer, too."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        library = type(cause).__module__.partition('.')[0]
        if library == 'aiohttp' or isinstance(cause, TimeoutError):
            return error if getattr(cause, 'status', None) in (404, 410) else cause
    return error


def _may_pass(error: Exception) -> bool:
    """Whether a further attempt may succeed."""
    status = getattr(error, 'status', None)
    if isinstance(status, int):
        return status >= 500 or status in (408, 425, 429)
    if isinstance(error, (PermissionError, IsADirectoryError, NotADirectoryError)):
        return False
    library = type(error).__module__.partition('.')[0]
    network = library in ('aiohttp', 'botocore', 'aiobotocore', 'urllib3', 'requests')
    return isinstance(error, OSError) or (network and 'Credential' not in type(error).__name__)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f'no answer for {settings().timeout:g} s'
    status = getattr(error, 'status', None)
    if isinstance(status, int):
        return f'the server says {status} {getattr(error, "message", "")}'.rstrip()
    text = ' '.join(_without_secrets(str(error)).split())[:300]
    return text or type(error).__name__


def _warn(text: str) -> None:
    import logging

    from mmengine.logging import print_log

    print_log(text, logger='current', level=logging.WARNING)


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

    return _retried(path, fetch, options)


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

    _retried(uri, fetch, options)


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
    """What the server says of a file."""
    facts: dict[str, Any] = _retried(path, lambda found, inside: found.info(inside))
    return facts


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
        return _retried(path, ask)
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
        return sorted(found.unstrip_protocol(f['name']) for f in facts if f['type'] == 'file')

    return _retried(path, ask)


def remove_file(path: AnyPath) -> None:
    """Remove a file, if it is there."""
    if not is_remote(path):
        Path(path).unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        _retried(path, lambda found, inside: found.rm_file(inside))


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
            if uri_of(path).partition('://')[0] not in _OBJECT_STORES:
                found.makedirs(inside.rpartition('/')[0], exist_ok=True)
            found.put_file(str(part), inside)
            found.invalidate_cache()
            size = found.info(inside).get('size')
            if size is not None and size != part.stat().st_size:
                raise OSError(f'{size} of {part.stat().st_size} bytes have arrived')

        try:
            _retried(path, put)
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
        return _retried(path, lambda found, inside: _part(found, inside, start, end))

    version = _version(facts)
    return RangedFile(size, fetch, version and f'{uri_of(path)}\n{version}')
