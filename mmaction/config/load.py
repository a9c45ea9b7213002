"""Reading a config file, with the changes that the command line asks for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config
from mmengine.fileio import JsonHandler, YamlHandler
from mmengine.fileio.handlers.registry_utils import file_handlers

from mmaction.errors import ConfigError
from mmaction.utils.checkpoint_reading import register_safe_loaders
from mmaction.utils.cli import brief, describe, print_notes, user_line
from mmaction.utils.file_backend import register_file_backend
from mmaction.utils.packaged_configs import find_config

from .bases import check_bases, describe_clash, find_base
from .check import check_config
from .known_keys import RUNNER_KEYS
from .legacy import OLD_KEYS, convert_old_config, drop_missing_backends, is_old_config
from .model_clips import apply_model_clips
from .options import Options, apply_options, parse_options, places
from .registered_types import is_registered
from .scope import fit_blending, mend_published, why_missing

__all__ = ['load_config', 'lost_hooks', 'read_config']

_MOST_BYTES = 1 << 24
_MOST_VALUES = 100_000
"""Of a YAML or JSON file, in which a few references may unfold to billions."""

_MISSED_HOOKS = ('StartReportHook', 'CurveHook', 'StopHook', 'NonFiniteLossHook')
_INSTEAD_OF_MMCV = (
    ', which is not needed: import BaseTransform from mmaction.datasets.transforms and ConvModule '
    'from mmaction.models.common.layers; mmengine has registries, hooks and file clients'
)


def load_config(path: str | Path, options: Options = None, *, check: bool = True) -> Config:
    """Read a config, apply options to it and check every key.

    One of mmaction2 0.x is read as what it means in the form of 1.x; what has no
    counterpart is told on stderr.

    Args:
        path: A config file of mmengine's kind (`_base_`, `{{$ENV:default}}`), or the name of
            a config of the package; `_base_` may name one, too.
        options: `key=value` strings as `--cfg-options` takes them, or the
            parsed dict. Keys are dotted paths; list items go by their index.
            An option that changes a variable of the config (`data_root=...`)
            also changes what was made of it: an equal value in the model, the
            datasets and so on. Of a 0.x config they may name old keys or new ones.
            What a model of transformers says of its clips is filled in afterwards.
        check: Whether unknown keys and types are errors.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: A key, type or option is unknown, or the file fails to run.
    """
    register_safe_loaders()
    register_file_backend()
    cfg = read_config(path)
    changes = options if isinstance(options, dict) else parse_options(options or ())
    if is_old_config(cfg):
        return _load_old(cfg, changes, check=check)
    mend_published(cfg)
    if changes:
        apply_options(cfg, changes)
    _tell_unused_root(cfg)
    fit_blending(cfg)
    apply_model_clips(cfg)
    if check:
        check_config(cfg)
    # A config without the base that says so means the same.
    cfg.setdefault('default_scope', 'mmaction')
    return cfg


def read_config(path: str | Path) -> Config:
    """A config as its file and bases say it, of either form and unchecked.

    A Python file is code, which is run. YAML and JSON files are data: nothing
    in them is run, and they may have no base and no imports that would be.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file fails to run, or is data that asks for code.
    """
    path = find_config(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f'it has {path.stat().st_size} bytes, far more than a config')
        check_bases(path)
        with _data_files_are_data(), _bases_by_name():
            try:
                cfg = Config.fromfile(str(path), import_custom_modules=False)
            except KeyError as error:
                clash = describe_clash(path) if 'among bases' in str(error) else None
                if clash is None:
                    raise
                raise ConfigError(clash) from error
            if path.suffix != '.py':
                # Again with the bases: `{{_base_.name}}` stands for a value of theirs.
                _without_code(cfg._cfg_dict)
        _import_custom(cfg.get('custom_imports'))
        return cfg
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise ConfigError(
            f'{path} cannot be read as a config: it is nested without end, or too deeply'
        ) from error
    except SystemExit as error:
        raise ConfigError(
            f'{path} cannot be read as a config: it ends the program (sys.exit)'
        ) from error
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        line = user_line(error)
        place = f' ({line})' if line else ''
        raise ConfigError(f'{path} cannot be read as a config: {reason}{place}') from error


def _tell_unused_root(cfg: Config) -> None:
    """Warn of a `data_root` that comes too late: its base made the datasets of another before."""
    root = cfg.get('data_root')
    values = [(key, holder[key]) for holder, key in places(cfg._cfg_dict, skip='data_root')]
    others = sorted({str(value) for key, value in values if key == 'data_root'})
    used = any(isinstance(value, str) and value.startswith(str(root)) for _, value in values)
    if root and others and not used:
        print_notes(
            f'warning: no dataset reads data_root={root!r}: a variable of a base has been used in '
            f'it, and the datasets have {", ".join(others)}. Set data_root of the datasets '
            "(train_dataloader=dict(dataset=dict(data_root='...')) and so on), or leave the line "
            f'out and pass --cfg-options data_root={root}',
        )


def lost_hooks(cfg: Config) -> str | None:
    """A warning where `custom_hooks` replace those of the base, of which mmaction2's has none."""
    hooks = cfg.get('custom_hooks')
    # As text: a wrong type may be a list, and is refused later.
    used = {str(hook.get('type')) for hook in hooks or [] if isinstance(hook, dict)}
    # The text of a config holds that of its bases.
    given = all(f"'{name}'" in cfg.text for name in _MISSED_HOOKS)
    if not (given and used and used.isdisjoint(_MISSED_HOOKS)):
        return None
    return (
        f'custom_hooks of {Path(cfg.filename).name} replaces that of its base: the run has no '
        'report before the first step and no curve, and does not end in order on a signal or a '
        'loss that is not finite. To keep these hooks: custom_hooks = [*_base_.custom_hooks, ...]'
    )


def _import_custom(wanted: Any) -> None:
    """Import the modules of `custom_imports`, which mmengine would do without telling what fails.

    Raises:
        ConfigError: One cannot be imported, and `allow_failed_imports` is not set.
    """
    if not wanted:
        return
    names = wanted.get('imports') if isinstance(wanted, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"custom_imports: expected dict(imports=['MODULE', ...]), found {brief(wanted, 200)}"
        )
    for name in names:
        try:
            import_module(name)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and f'{name}.'.startswith(f'{error.name}.'):
                reason = 'its folder is not in PYTHONPATH, or it is not installed'
            else:
                place = user_line(error)
                reason = f'{place}: {describe(error)}' if place else describe(error)
                if (error.name or '').split('.')[0] == 'mmcv':
                    reason += _INSTEAD_OF_MMCV
            # Installing mmpretrain, of which mmaction2's own configs import models, would not help.
            why = why_missing(name) or f'{name!r} cannot be imported: {reason}'
            text = f'custom_imports: {why}'
            if not wanted.get('allow_failed_imports'):
                raise ConfigError(text) from error
            warnings.warn(text, stacklevel=2)


@contextmanager
def _data_files_are_data() -> Iterator[None]:
    """Have mmengine read YAML and JSON without running what is in them.

    Its own reader of YAML makes any Python object that a file asks for.
    """
    before = dict(file_handlers)
    file_handlers.update(json=_JsonHandler(), yaml=_YamlHandler(), yml=_YamlHandler())
    try:
        yield
    finally:
        file_handlers.clear()
        file_handlers.update(before)


@contextmanager
def _bases_by_name() -> Iterator[None]:
    """Have mmengine find a `_base_` that is the name of a config of the package."""
    config: Any = Config  # whose own types let no method be replaced
    given = config._get_cfg_path

    def find(base: str, filename: str) -> tuple[str, str | None]:
        path = find_base(base, Path(filename).parent)
        return given(base, filename) if path is None else (str(path), None)

    config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        config._get_cfg_path = staticmethod(given)


class _JsonHandler(JsonHandler):
    def load_from_fileobj(self, file: object, **_: Any) -> Any:
        return _without_code(super().load_from_fileobj(file))


class _YamlHandler(YamlHandler):
    def load_from_fileobj(self, file: Any, **_: Any) -> Any:
        return _without_code(yaml.safe_load(file))


def _without_code(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f'it holds a {type(content).__name__}, expected keys and values')
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f'the key {key!r} is no text')
    bases = content.get('_base_', [])
    for base in bases if isinstance(bases, list) else [bases]:
        if str(base).endswith('.py'):
            raise ConfigError(
                f'_base_={base!r} is code, and this file is data: write it as a Python config'
            )
    if 'custom_imports' in content:
        raise ConfigError('custom_imports runs modules: write it as a Python config')
    for count, (way, value) in enumerate(_values(content)):
        if count > _MOST_VALUES:
            raise ConfigError(f'it unfolds to more than {_MOST_VALUES} values')
        reason = _runs_code(way, value) if way and isinstance(value, str) else None
        if reason:
            raise ConfigError(
                f'{way[-1]}: {value} {reason}, and this file is data: write it as a Python config'
            )
    return content


def _runs_code(way: tuple[str, ...], value: str) -> str | None:
    """Why a value would have a module imported or a program run, None if it would not."""
    key = way[-1]
    if key in ('type', 'constructor', 'runner_type') and '.' in value and not is_registered(value):
        return 'is in no registry, so it would be imported'
    if key in ('_scope_', 'default_scope') and value not in ('mmaction', 'mmengine'):
        return 'is another package, which would be imported'
    if way[-2:] == ('teacher', 'config'):
        return 'is code'
    if way[:2] == ('compile', 'options'):
        return "may be a program, which PyTorch's compiler would run"
    return None


def _values(node: object, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value within a config, containers included, with the keys that lead to it."""
    yield way, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _values(value, (*way, str(key)))
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _values(item, way)


def _load_old(cfg: Config, changes: dict[str, Any], *, check: bool) -> Config:
    """Read a config of mmaction2 0.x; options of 1.x apply to what becomes of it."""
    # Both forms have train_cfg and test_cfg: those of 0.x only where the file gives them.
    later = (RUNNER_KEYS - OLD_KEYS | {'train_cfg', 'test_cfg'}) - set(cfg)
    new_options = {key: changes[key] for key in changes if key.split('.')[0] in later}
    apply_options(
        cfg, {k: v for k, v in changes.items() if k not in new_options}, RUNNER_KEYS | OLD_KEYS
    )
    try:
        new, notes = convert_old_config(cfg)
    except ConfigError as error:
        raise ConfigError(f'{cfg.filename} (of mmaction2 0.x): {error}') from error
    notes += drop_missing_backends(new)
    print_notes(
        f'note: {cfg.filename} has the form of mmaction2 0.x and is read as it was meant; '
        'tools/misc/migrate_config.py writes the new form',
        *notes,
    )
    try:
        apply_options(new, new_options)
        if check:
            check_config(new)
    except ConfigError as error:
        raise ConfigError(f'{error} (in the new form of {cfg.filename})') from error
    return new
