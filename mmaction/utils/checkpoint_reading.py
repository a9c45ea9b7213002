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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch.serialization import MAP_LOCATION

from mmaction.errors import CheckpointError, MissingCheckpointError
from mmaction.utils.download import DownloadError, download
from mmaction.utils.hub import SCHEME, fetch
from mmaction.utils.plain_pickle import numpy_stand_ins, resolve
from mmaction.utils.remote import SCHEMES, is_remote, local_path, redacted
from mmaction.utils.suggest import did_you_mean, missing_file, other_kind

__all__ = [
    'bare_name',
    'check_content',
    'load_checkpoint_file',
    'load_from_http',
    'load_from_hub',
    'load_from_local',
    'load_from_openmmlab',
    'load_from_timm',
    'load_from_torchvision',
    'read_checkpoint',
    'register_safe_loaders',
    'weights_of',
    'weights_of_backbone',
]


def bare_name(name: str) -> str:
    """A weight's name without what DDP (`module.`) and torch.compile (`_orig_mod.`) add to it."""
    name = name.replace('_orig_mod.', '')
    while name.startswith('module.'):
        name = name.removeprefix('module.')
    return name


def weights_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by their bare names.

    Args:
        checkpoint: With `state_dict` or `model`, or the weights themselves.
    """
    found = checkpoint
    for key in ('model', 'state_dict'):
        if isinstance(checkpoint.get(key), dict):
            found = checkpoint[key]
    return {bare_name(n): value for n, value in found.items() if isinstance(value, torch.Tensor)}


def weights_of_backbone(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a backbone, from a checkpoint of it or of a whole recognizer."""
    weights, prefix = weights_of(checkpoint), 'backbone.'
    own = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    return own or weights


def load_checkpoint_file(path: str | Path, map_location: MAP_LOCATION = 'cpu') -> dict[str, Any]:
    """Read a .pth or .safetensors file that holds tensors and plain values.

    Files of mmengine's own runner, with their history buffers, load as well.
    Nothing in the file is ever run.

    Raises:
        MissingCheckpointError: There is no such file.
        CheckpointError: The file is cut off, a config, a video or no checkpoint, or holds Python
            objects that only running it would make.
    """
    if is_remote(path):
        return _load_remote(path, map_location)
    path = Path(path).expanduser()
    if path.exists() and not path.is_file():
        kind = 'a folder' if path.is_dir() else 'no regular file'
        raise CheckpointError(f'checkpoint {path} is {kind}: give the path of a .pth file')
    if not path.is_file():
        raise MissingCheckpointError(missing_file(path, 'checkpoint'))
    other = other_kind(path, 'checkpoint')
    if other is not None:
        raise CheckpointError(other)
    if path.suffix == '.safetensors':
        return _load_safetensors(path)
    try:
        _check_zip(path)
        with torch.serialization.safe_globals(_known_types()):
            content = torch.load(path, map_location=map_location, weights_only=True)
        resolved: dict[str, Any] = resolve(content)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, error)) from None
    except MemoryError:
        raise CheckpointError(f'checkpoint {path} does not fit into memory') from None
    except Exception as error:
        # What a file that was made up brings torch's reader to raise is of any type.
        reason = _first_sentence(error)
        raise CheckpointError(
            f'checkpoint {path} is cut off or damaged ({reason})'
            if any(letter.isalpha() for letter in reason)
            else f'checkpoint {path} is cut off, damaged or no checkpoint'
        ) from None
    check_content(resolved, path)
    return resolved


def _load_remote(path: str | Path, map_location: MAP_LOCATION) -> dict[str, Any]:
    """Read a checkpoint from a copy of it as it is now."""
    try:
        copy = local_path(path)
    except FileNotFoundError as error:
        raise MissingCheckpointError(f'checkpoint {redacted(path)}: {error}') from None
    except OSError as error:
        raise CheckpointError(f'checkpoint {error}') from None
    if str(path).endswith('.safetensors'):
        return _load_safetensors(copy)
    try:
        return load_checkpoint_file(copy, map_location)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(copy), redacted(path))) from None


def check_content(content: object, path: str | Path) -> None:
    """Hold the form of a checkpoint against what is read of it.

    Raises:
        CheckpointError: It is no dict, or an entry is of another type than it should be.
    """
    if not isinstance(content, dict):
        raise CheckpointError(
            f'checkpoint {path} holds a {type(content).__name__}, not a dict of weights'
        )
    for key, kinds in _ENTRIES.items():
        if key in content and not isinstance(content[key], kinds):
            raise CheckpointError(
                f'checkpoint {path}: {key!r} is a {type(content[key]).__name__}, expected a '
                f'{kinds[0].__name__}'
            )
    for key in ('state_dict', 'ema_state_dict', 'model'):
        odd = next((name for name in content.get(key, ()) if not isinstance(name, str)), None)
        if odd is not None:
            raise CheckpointError(
                f'checkpoint {path}: {key!r} has an entry {odd!r:.40}, expected names of weights'
            )
    _check_meta(content.get('meta', {}), path)


def _check_meta(meta: dict[str, Any], path: str | Path) -> None:
    dataset_meta = meta.get('dataset_meta') or {}
    if not isinstance(dataset_meta, dict):
        raise CheckpointError(
            f"checkpoint {path}: meta['dataset_meta'] is a {type(dataset_meta).__name__}, "
            'expected a dict'
        )
    for key, value in (*meta.items(), *dataset_meta.items()):
        if key in ('classes', 'CLASSES') and not isinstance(value, (list, tuple, type(None))):
            raise CheckpointError(
                f'checkpoint {path}: {key!r} is {value!r:.40}, expected a list of class names'
            )
    for key, value in meta.items():
        if key in ('epoch', 'iter') and (type(value) is not int or value < 0):
            raise CheckpointError(
                f'checkpoint {path}: meta[{key!r}] is {value!r:.40}, expected 0 or more'
            )


# Entries of a checkpoint of mmengine's, and their types.
_ENTRIES: dict[str, tuple[type, ...]] = {
    'state_dict': (dict,),
    'ema_state_dict': (dict,),
    'model': (dict,),
    'meta': (dict,),
    'message_hub': (dict,),
    'optimizer': (dict,),
    'param_schedulers': (list, dict),
    'processes': (list,),
}


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f'checkpoint {path} is cut off or damaged ({_first_sentence(error)})'
        ) from error


def _check_zip(path: Path) -> None:
    """Hold the content of a file against its check sums, which torch does not."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch does not compress: what unpacks to far more is made to fill the memory.
            if sum(i.file_size for i in archive.infolist()) > 20 * path.stat().st_size + 10**7:
                raise zipfile.BadZipFile('it unpacks to many times its size')
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f'the check sum of {damaged} is wrong')


def _refusal(path: Path, error: Exception) -> str:
    text = str(error)
    needs = re.search(r'GLOBAL ([\w.]+)', text)
    if needs is None:
        # torch's own text advises to load the file without limits.
        held = re.search(r'it holds [^\n]+', text)
        reason = f' ({held.group(0)})' if held else ''
        return f'checkpoint {path} is cut off, damaged or no checkpoint{reason}'
    return (
        f'checkpoint {path} was refused: it holds Python objects ({needs.group(1)}), and loading '
        'those would run code from the file. Ask its maker for the weights alone: '
        "torch.save({'state_dict': model.state_dict()}, FILE)"
    )


def _first_sentence(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.split('. ')[0]


def _known_types() -> list[Any]:
    """Harmless types that checkpoints of mmengine's runner hold beside tensors."""
    return [*numpy_stand_ins(), HistoryBuffer, (_method_of_history, 'builtins.getattr')]


def _method_of_history(owner: object, name: str) -> Any:
    """What stands in for `getattr`, by which a history buffer names its four methods."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr of {owner}')
    return getattr(HistoryBuffer, name)


def load_from_local(filename: str, map_location: MAP_LOCATION = 'cpu') -> dict[str, Any]:
    """`load_checkpoint_file` by the name under which mmengine logs it."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(
    url: str, map_location: MAP_LOCATION = 'cpu', model_dir: str | None = None
) -> Any:
    """Read a checkpoint from the web, which `download` keeps.

    Raises:
        CheckpointError: It cannot be fetched or read, or has not the hash that its name carries.
    """
    from mmengine.dist import barrier, is_main_process

    try:
        try:
            # one process downloads, the others find its file, or fetch their own on other machines
            if is_main_process():
                download(url, model_dir)
        finally:
            barrier()
        path = download(url, model_dir)
    except DownloadError as error:
        raise CheckpointError(str(error)) from error
    return load_checkpoint_file(path, map_location)


def load_from_hub(address: str, map_location: MAP_LOCATION = 'cpu') -> dict[str, Any]:
    """Read a checkpoint from the Hub, `hf://ORG/REPO[@REVISION][:FILE]`, which keeps a copy.

    Raises:
        CheckpointError: It cannot be fetched or read, or is no .safetensors file.
    """
    from mmengine.dist import barrier, is_main_process

    try:
        # one process downloads, the others find its file
        if is_main_process():
            fetch(address)
    finally:
        barrier()
    return load_checkpoint_file(fetch(address), map_location)


def load_from_torchvision(name: str, map_location: MAP_LOCATION = 'cpu') -> Any:
    """The weights of a model of torchvision, `torchvision://resnet50`.

    They are the first that torchvision published; `torchvision://resnet50.imagenet1k_v2`
    names others.

    Raises:
        CheckpointError: torchvision has no weights of that name, or they cannot be fetched.
    """
    from torchvision.models import get_model_weights, list_models

    model, _, version = name.removeprefix('torchvision://').partition('.')
    _check_name('torchvision', model, list_models())
    weights = {entry.name.lower(): entry for entry in get_model_weights(model)}
    _check_name(f'torchvision.{model}', version.lower() or next(iter(weights)), weights)
    entry = weights[version.lower()] if version else next(iter(weights.values()))
    return load_from_http(entry.url, map_location)


def load_from_openmmlab(name: str, map_location: MAP_LOCATION = 'cpu') -> Any:
    """The weights that mmengine knows by name, `mmcls://mobilenet_v2`, `open-mmlab://resnet50`.

    Raises:
        CheckpointError: mmengine has no weights of that name, or they cannot be fetched.
    """
    from mmengine.runner.checkpoint import get_external_models, get_mmcls_models

    scheme, _, model = name.partition('://')
    known = get_mmcls_models() if scheme == 'mmcls' else get_external_models()
    _check_name(scheme, model, known)
    loaded = load_from_http(known[model], map_location)
    state = loaded.get('state_dict', loaded)
    return dict(state_dict={key.removeprefix('backbone.'): state[key] for key in state})


def _check_name(library: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, known, count=3)
        raise CheckpointError(f'{library} has no weights {name!r}{hint}')


def load_from_timm(name: str, map_location: MAP_LOCATION = 'cpu') -> dict[str, torch.Tensor]:
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
        _ask_hub(timm.get_pretrained_cfg(model))
        weights = timm.create_model(model, pretrained=True).state_dict()
    except Exception as error:  # whatever the downloading library raises
        raise CheckpointError(
            f'{name} could not be fetched ({_first_sentence(error)}). Without a network, get the '
            f'file elsewhere, with timm.create_model({model!r}, pretrained=True).state_dict(), '
            'and give its path instead'
        ) from error
    return {key: value.to(map_location) for key, value in weights.items()}


def _ask_hub(settings: Any) -> None:
    """Ask for weights of timm, which without a network asks for two files, half a minute for each.

    Raises:
        FileNotFoundError: There is no network, and the weights are not in the cache.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if not settings.hf_hub_id or settings.hf_hub_filename or 'TIMM_USE_OLD_CACHE' in os.environ:
        return
    name, _, revision = settings.hf_hub_id.partition('@')
    place = dict(repo_id=name, revision=revision or None)
    try:
        hf_hub_download(filename='model.safetensors', **place)
    except LocalEntryNotFoundError:
        if not isinstance(try_to_load_from_cache(filename='pytorch_model.bin', **place), str):
            raise
    except EntryNotFoundError:
        return  # timm takes pytorch_model.bin


def read_checkpoint(source: str | Path, map_location: MAP_LOCATION = 'cpu') -> dict[str, Any]:
    """Read a checkpoint from a file, an address of the web or the Hub, or a library by its name.

    Raises:
        CheckpointError: It is not there, or cannot be read or fetched.
    """
    if '://' not in str(source) and not is_remote(source):
        return load_checkpoint_file(source, map_location)
    register_safe_loaders()
    try:
        content: dict[str, Any] = CheckpointLoader.load_checkpoint(str(source), map_location)
        check_content(content, source)
        return content
    except CheckpointError:
        raise
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f'{source} could not be fetched ({_first_sentence(error)})'
        ) from error


def register_safe_loaders() -> None:
    """Make mmengine read files, web addresses and libraries' models through the loaders above."""
    elsewhere = [f'{scheme}:/' for scheme in SCHEMES if not scheme.startswith(('http', 'hf'))]
    CheckpointLoader.register_scheme(['', *elsewhere], load_from_local, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
    CheckpointLoader.register_scheme(SCHEME, load_from_hub, force=True)
    CheckpointLoader.register_scheme('timm://', load_from_timm, force=True)
    CheckpointLoader.register_scheme('torchvision://', load_from_torchvision, force=True)
    openmmlab = ('mmcls://', 'open-mmlab://', 'openmmlab://')
    CheckpointLoader.register_scheme(openmmlab, load_from_openmmlab, force=True)
