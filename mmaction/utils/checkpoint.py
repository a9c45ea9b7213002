"""Reading weights safely.

mmengine's own loaders fall back to unpickling a file without limits, which runs
whatever code the file holds. These take their place: they read tensors and plain
containers, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

# 'name-0123abcd.pth', as torch.hub and publish_model.py write it
_HASH_IN_NAME = re.compile(r'-[0-9a-f]{8,}\.')


def load_from_local(filename: str | os.PathLike[str], map_location: Any = 'cpu') -> Any:
    """Read a .pth or .safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or needs more than `weights_only=True`.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint not found: {path}')
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f'{path} is no readable safetensors file: {error}') from error
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} is damaged, or holds Python objects beside its tensors, which could run any '
            'code when loaded; it was not loaded. If you trust its source, open it once in a '
            "separate process with torch.load(..., weights_only=False) and save its 'state_dict' "
            f'alone. ({str(error).splitlines()[0]})'
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'{path} is no readable checkpoint: {error}') from error


def load_from_http(url: str, map_location: Any = 'cpu', model_dir: str | None = None) -> Any:
    """Read a checkpoint from the web; it is kept in torch.hub's cache.

    A hash in the file's name ('name-0123abcd.pth') is checked.
    """
    from mmengine.dist import barrier, is_main_process

    def load() -> Any:
        return torch.hub.load_state_dict_from_url(
            url,
            model_dir,
            map_location,
            progress=os.isatty(0),
            check_hash=_HASH_IN_NAME.search(url) is not None,
            weights_only=True,
        )

    # one process downloads, the others read its copy
    loaded = load() if is_main_process() else None
    barrier()
    return load() if loaded is None else loaded


def register_safe_loaders() -> None:
    """Make mmengine read local files and web addresses through the loaders above."""
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
