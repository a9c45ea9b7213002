"""mmengine's file backend for everything that fsspec reads."""

from __future__ import annotations

import os.path as osp
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmaction.errors import ConfigError

from .remote import SCHEMES, exists, read_bytes, uploaded

__all__ = ['FsspecBackend', 'register_file_backend']

_SECRETS = ('key', 'secret', 'token', 'password', 'username', 'account_key', 'sas_token')


class FsspecBackend(BaseStorageBackend):
    """Files by fsspec: `io_backend='fsspec'` in a pipeline, `backend_args=dict(backend='fsspec')`.

    Args:
        options: Arguments of fsspec's file system, such as `endpoint_url`. Credentials are none
            of them: a config is written to logs. fsspec takes them from the environment
            (AWS_ACCESS_KEY_ID, ...), the files of the provider's tools and `~/.config/fsspec`.

    Raises:
        ConfigError: There are credentials among the options.
    """

    def __init__(self, **options: Any) -> None:
        secret = next((name for name in _SECRETS if name in options), None)
        if secret is not None:
            raise ConfigError(
                f'{secret!r} of the file backend: a config is written to logs, so credentials do '
                'not belong there; fsspec takes them from the environment or ~/.config/fsspec'
            )
        self.options = options

    def get(self, filepath: str) -> bytes:
        """The bytes of a file."""
        return read_bytes(filepath, options=self.options)

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The text of a file."""
        return self.get(filepath).decode(encoding)

    def put(self, obj: bytes, filepath: str) -> None:
        """Write bytes to a file."""
        with uploaded(filepath) as part:
            part.write_bytes(obj)

    def put_text(self, obj: str, filepath: str, encoding: str = 'utf-8') -> None:
        """Write a text to a file."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: str) -> bool:
        """Whether there is such a file."""
        return exists(filepath)

    def join_path(self, filepath: str, *filepaths: str) -> str:
        """Paths joined by '/'."""
        return osp.join(filepath, *filepaths)


def register_file_backend() -> None:
    """Have mmengine read remote files by fsspec, in the place of backends that no longer install.

    Called with a config, like `register_safe_loaders`: importing changes nothing outside.
    """
    register_backend('fsspec', FsspecBackend, prefixes=list(SCHEMES), force=True)
