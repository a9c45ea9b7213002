"""How remote files are reached: their addresses, their file systems, and attempts at a call.

fsspec knows the protocols and where credentials come from. Here is what it leaves to its users:
attempts that are repeated, a limit for connections that stall, and messages without secrets. The
operations on files are in `remote.py`.

The environment sets what holds for a whole run, as workers and ranks inherit it:
MMACTION_REMOTE_TIMEOUT (seconds without an answer), MMACTION_REMOTE_RETRIES (attempts after
the first), MMACTION_CACHE (folder in which files are kept) and MMACTION_CACHE_SIZE ('50GB').
"""

from __future__ import annotations

import functools
import inspect
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mmaction.errors import ConfigError, RemoteFileError

__all__ = [
    'SCHEMES',
    'Settings',
    'is_remote',
    'parse_size',
    'redacted',
    'retried',
    'scheme_of',
    'settings',
    'uri_of',
]

SCHEMES = (
    's3', 's3a', 'gs', 'gcs', 'hf', 'http', 'https', 'memory', 'az', 'abfs', 'sftp', 'hdfs',
)  # fmt: skip
"""Protocols of files; others, such as `rtsp://` and `timm://`, are no files."""

# One slash is what pathlib leaves of two.
_URI = re.compile(rf'({"|".join(SCHEMES)}):/+')
_SIZE = re.compile(r'([0-9.]+)\s*([KMGT]?)I?B?', re.IGNORECASE)
_FIRST_WAIT = 0.5  # seconds before the second attempt; doubled before each further one
_EXTRAS = {'gs': 'gcs', 'gcs': 'gcs', 'hf': 'hf,remote'}

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


def scheme_of(path: AnyPath) -> str:
    """The protocol of an address: 's3' of 's3://bucket/key'."""
    return uri_of(path).partition('://')[0]


def _filesystem(uri: str, options: dict[str, Any], reading: bool) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    scheme = scheme_of(uri)
    if scheme in ('gs', 'gcs'):
        return _google_filesystem()(**_limits(scheme), **options), uri.partition('://')[2]
    if scheme == 'hf' and reading:
        return _hub_file(uri, options)
    found, path = url_to_fs(uri, **_limits(scheme), **options)
    if scheme in ('s3', 's3a'):
        found.retries = 1  # repeated here: both together would multiply
    return found, path


@functools.cache
def _google_filesystem() -> Any:
    """The class of gcsfs, without what it repeats by itself: both together would multiply.

    Not the class that gcsfs registers, which asks for the type of each bucket by gRPC: workers
    are forked, and what gRPC has open does not outlive that.
    """
    from gcsfs.core import GCSFileSystem

    repeated = ('_request', '_get_file_request', '_get_file_concurrent')
    # The decorator that repeats has no setting; what it wraps is the call itself.
    found = {
        n: inspect.unwrap(getattr(GCSFileSystem, n)) for n in repeated if n in vars(GCSFileSystem)
    }
    return type('GCSFileSystem', (GCSFileSystem,), found)


def _hub_file(uri: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The file system of HTTP, and the address that the Hub serves a file at.

    huggingface_hub would repeat each request five times within each of our attempts, with a
    timeout of its own, and list the folder of a file to learn its size.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.http import HTTPFileSystem
    from huggingface_hub.utils import build_hf_headers

    hub, path = url_to_fs(uri, **options)
    headers = build_hf_headers(token=hub.token)
    return HTTPFileSystem(encoded=True, headers=headers, **_limits('https')), hub.url(path)


def _limits(scheme: str) -> dict[str, Any]:
    """Options that end a connection which stalls, beside what fsspec's own config says."""
    from fsspec.config import conf

    seconds = settings().timeout
    if scheme in ('http', 'https', 'gs', 'gcs'):
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        if scheme in ('gs', 'gcs'):
            return {'requests_timeout': limit}
        own = (conf.get(scheme) or {}).get('client_kwargs') or {}
        return {'client_kwargs': {**own, 'timeout': limit}}
    if scheme in ('s3', 's3a'):
        own = (conf.get(scheme) or {}).get('config_kwargs') or {}
        limits = dict(connect_timeout=seconds, read_timeout=seconds, retries={'max_attempts': 0})
        return {'config_kwargs': {**limits, **own}}
    return {}


def retried(
    path: AnyPath,
    call: Callable[[Any, str], Result],
    options: dict[str, Any] | None = None,
    *,
    reading: bool = False,
) -> Result:
    """Call a function with the file system and path of an address, again if it may help.

    Args:
        path: The address.
        call: The function.
        options: Arguments of fsspec's file system.
        reading: Whether the function only reads a file, or what is known of it.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package of the protocol is not installed.
        RemoteFileError: All attempts failed, or access is denied.
    """
    uri = uri_of(path)
    shown, retries = redacted(uri), settings().retries
    for attempt in range(retries + 1):
        try:
            return call(*_filesystem(uri, options or {}, reading))
        except ImportError as error:
            scheme = scheme_of(uri)
            raise ImportError(
                f'{shown}: {scheme}:// needs a package that is not installed ({error}): '
                f'pip install "dualformer[{_EXTRAS.get(scheme, "remote")}]"'
            ) from None
        except Exception as raised:
            # `from None`, here and below: the causes may hold the address with its secrets.
            cause = _true_cause(raised)
            if isinstance(cause, FileNotFoundError) or _status(cause) in (404, 410):
                hint = ', or a token is needed (HF_TOKEN)' if scheme_of(uri) == 'hf' else ''
                raise FileNotFoundError(f'there is no file {shown}{hint}') from None
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
        if library == 'aiohttp' or _timed_out(cause):
            return error if _status(cause) in (404, 410) else cause
    return error


def _status(error: Exception) -> int | None:
    """The status of HTTP that an error stands for, wherever its library keeps it."""
    response = getattr(error, 'response', None)
    for status in (
        getattr(error, 'status', None),
        getattr(error, 'code', None),
        getattr(response, 'status_code', None),
    ):
        if isinstance(status, int):
            return status
    # gcsfs makes it an error without a number.
    return 403 if str(error).startswith('Forbidden: ') else None


def _may_pass(error: Exception) -> bool:
    """Whether a further attempt may succeed."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (408, 425, 429)
    if isinstance(error, (PermissionError, IsADirectoryError, NotADirectoryError)):
        return False
    library = type(error).__module__.partition('.')[0]
    network = library in (
        'aiohttp', 'botocore', 'aiobotocore', 'urllib3', 'requests', 'httpx', 'httpx2', 'httpcore',
    )  # fmt: skip
    passing = isinstance(error, OSError) or _timed_out(error)
    return passing or (network and 'Credential' not in type(error).__name__)


def _timed_out(error: Exception) -> bool:
    # By name: that of asyncio is another class before Python 3.11.
    return any(each.__name__ == 'TimeoutError' for each in type(error).__mro__)


def _reason(error: Exception) -> str:
    if _timed_out(error):
        return f'no answer for {settings().timeout:g} s'
    status = _status(error)
    if status is not None:
        # Not the text of every library, some of which add the address with its query.
        told = getattr(error, 'message', '') if hasattr(error, 'status') else ''
        return f'the server says {status} {told}'.rstrip()
    text = ' '.join(_without_secrets(str(error)).split())[:300]
    return text or type(error).__name__


def _warn(text: str) -> None:
    import logging

    from mmengine.logging import print_log

    print_log(text, logger='current', level=logging.WARNING)
