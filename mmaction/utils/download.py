"""Files from the web, kept in a cache folder, as torch.hub keeps them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlparse

__all__ = ['DownloadError', 'download', 'hash_in_name']

# 'name-0123abcd.pth', as torch.hub and publish_model.py write it; eight digits may be a date
_HASH = re.compile(r'-(?!20\d{6}\.)([0-9a-f]{8,64})\.')
_TIMEOUT = 30.0  # seconds without an answer
_CHUNK = 1 << 20


class DownloadError(OSError):
    """A file that cannot be fetched, or is not the one that its name promises."""


def cache_folder() -> Path:
    """Where downloads are kept: torch.hub's folder, which TORCH_HOME moves."""
    import torch

    return Path(torch.hub.get_dir()) / 'checkpoints'


def hash_in_name(name: str) -> str | None:
    """The first digits of a file's SHA-256 that its name carries, if it does."""
    found = _HASH.search(name)
    return found[1] if found else None


def download(url: str, folder: str | Path | None = None) -> Path:
    """Fetch a file, unless it is there already; a progress bar follows on a terminal.

    The file takes its place only when it is whole and its hash, where the name
    carries one, is right.

    Args:
        url: `http://`, `https://` or `file://`.
        folder: Where to keep it; by default `cache_folder`.

    Returns:
        Its path.

    Raises:
        DownloadError: No network, no such file, a download that broke off, or one
            with another hash.
    """
    name = unquote(Path(urlparse(url).path).name)
    folder = cache_folder() if folder is None else Path(folder)
    path = folder / name
    if not name:
        raise DownloadError(f'{url} names no file')
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # a name of its own for each process that may be fetching the same file
    handle, partial = tempfile.mkstemp(dir=folder, prefix=f'{name}.', suffix='.part')
    os.close(handle)
    try:
        digest = _fetch(url, Path(partial))
        wanted = hash_in_name(name)
        if wanted and not digest.startswith(wanted):
            raise DownloadError(
                f'{url} has the hash {digest[: len(wanted)]}, but its name says {wanted}: it was '
                'damaged on the way or altered; fetch it again'
            )
        Path(partial).replace(path)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(_advice(url, path, error)) from error
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def _fetch(url: str, path: Path) -> str:
    """Write what an address gives; returns the SHA-256 of it."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={'User-Agent': 'dualformer'})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, path.open('wb') as file:
        length = answer.headers.get('Content-Length')
        total = int(length) if length else None
        if total is not None and total > shutil.disk_usage(path.parent).free:
            raise OSError(f'it has {total / 1e6:.0f} MB, more than is free in {path.parent}')
        with tqdm(
            total=total,
            unit='B',
            unit_scale=True,
            desc=Path(urlparse(url).path).name,
            disable=not sys.stderr.isatty(),
        ) as bar:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and file.tell() != total:
            raise OSError(f'it broke off after {file.tell()} of {total} bytes')
    return digest.hexdigest()


def _advice(url: str, path: Path, error: Exception) -> str:
    reason = getattr(error, 'reason', None) or error
    if isinstance(error, urllib.error.HTTPError):
        return f'{url} could not be fetched (the server says {error.code} {error.reason})'
    return (
        f'{url} could not be fetched ({reason}). Without a network, get the file elsewhere and '
        f'give its path instead of the address, or put it at {path}'
    )
