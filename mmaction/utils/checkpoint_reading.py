"""Reading weights safely.

mmengine's own loaders fall back to unpickling a file without limits, which runs
whatever code the file holds. These take their place: they read tensors and plain
containers, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmaction.errors import CheckpointError, MissingCheckpointError
from mmaction.utils.suggest import did_you_mean

# 'name-0123abcd.pth', as torch.hub and publish_model.py write it
_HASH_IN_NAME = re.compile(r'-[0-9a-f]{8,}\.')


def load_checkpoint_file(path: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a .pth or .safetensors file that holds tensors and plain values.

    Files of mmengine's own runner, with their history buffers, load as well.
    Nothing in the file is ever run.

    Raises:
        MissingCheckpointError: There is no such file.
        CheckpointError: The file is cut off or no checkpoint, or holds Python
            objects that only running it would make.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingCheckpointError(
            f'there is no checkpoint {path}: correct the path, or get the file '
            '(checkpoints/README.md says where released weights are)'
        )
    if path.suffix == '.safetensors':
        return _load_safetensors(path)
    try:
        _check_zip(path)
        with torch.serialization.safe_globals(_known_types()):
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, error)) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f'checkpoint {path} is cut off or damaged ({_first_line(error)})'
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f'checkpoint {path} holds a {type(content).__name__}, not a dict of weights'
        )
    return content


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f'checkpoint {path} is cut off or damaged ({_first_line(error)})'
        ) from error


def _check_zip(path: Path) -> None:
    """Hold the content of a file against its check sums, which torch does not."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f'the check sum of {damaged} is wrong')


def _refusal(path: Path, error: Exception) -> str:
    needs = re.search(r'GLOBAL ([\w.]+)', str(error))
    if needs is None:
        return f'checkpoint {path} is cut off, damaged or no checkpoint ({_first_line(error)})'
    return (
        f'checkpoint {path} was refused: it holds Python objects ({needs.group(1)}), and loading '
        'those would run code from the file. Ask its maker for the weights alone, or, if you '
        "trust it, save them where it was made: torch.save({'state_dict': "
        "torch.load(FILE, weights_only=False)['state_dict']}, NEW_FILE)"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _known_types() -> list[Any]:
    """Harmless types that checkpoints of mmengine's runner hold beside tensors."""
    core = getattr(np, '_core', None) or np.core
    return [
        np.ndarray,
        np.dtype,
        core.multiarray._reconstruct,
        core.multiarray.scalar,
        *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)),
        HistoryBuffer,
        (_method_of_history, 'builtins.getattr'),
    ]


def _method_of_history(owner: Any, name: str) -> Any:
    """What stands in for `getattr`, by which a history buffer names its four methods."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr of {owner}')
    return getattr(HistoryBuffer, name)


def load_from_local(filename: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """`load_checkpoint_file` by the name under which mmengine logs it."""
    return load_checkpoint_file(filename, map_location)


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


def load_from_timm(name: str, map_location: Any = 'cpu') -> dict[str, torch.Tensor]:
    """The weights of a model that timm knows, `timm://twins_svt_small.in1k`.

    timm keeps what it downloads; a second run needs no network.

    Raises:
        CheckpointError: timm has no weights of that name, or cannot get them.
    """
    import timm

    model = name.removeprefix('timm://')
    known = timm.list_models(pretrained=True)
    if model not in known and model not in {each.split('.')[0] for each in known}:
        hint = did_you_mean(model, known, count=3)
        raise CheckpointError(f'timm has no pretrained model {model!r}{hint}')
    try:
        weights = timm.create_model(model, pretrained=True).state_dict()
    except Exception as error:  # whatever the downloading library raises
        raise CheckpointError(
            f'{name} could not be fetched ({_first_line(error)}). Without a network, get the file '
            f'elsewhere, with timm.create_model({model!r}, pretrained=True).state_dict(), '
            'and give its path instead'
        ) from error
    return {key: value.to(map_location) for key, value in weights.items()}


def read_checkpoint(source: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a checkpoint from a file, a web address or `timm://NAME`.

    Raises:
        CheckpointError: It is not there, or cannot be read or fetched.
    """
    if '://' not in str(source):
        return load_checkpoint_file(source, map_location)
    register_safe_loaders()
    try:
        return CheckpointLoader.load_checkpoint(str(source), map_location)
    except CheckpointError:
        raise
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f'{source} could not be fetched ({_first_line(error)})') from error


def register_safe_loaders() -> None:
    """Make mmengine read local files, web addresses and timm's models through the loaders above."""
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
    CheckpointLoader.register_scheme('timm://', load_from_timm, force=True)
