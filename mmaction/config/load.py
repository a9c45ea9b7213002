"""Reading a config file, with the changes that the command line asks for."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmaction.errors import ConfigError
from mmaction.utils.suggest import close_names, did_you_mean

from .check import RUNNER_KEYS, check_config
from .legacy import OLD_KEYS, convert_old_config, drop_missing_backends, is_old_config

__all__ = ['load_config', 'parse_options', 'parse_value', 'read_config']

Options = Iterable[str] | dict[str, Any] | None


def load_config(path: str | Path, options: Options = None, *, check: bool = True) -> Config:
    """Read a config, apply options to it and check every key.

    One of mmaction2 0.x is read as what it means in the form of 1.x; what has no
    counterpart is told on stderr.

    Args:
        path: A config file of mmengine's kind (`_base_`, `{{$ENV:default}}`).
        options: `key=value` strings as `--cfg-options` takes them, or the
            parsed dict. Keys are dotted paths; list items go by their index.
            An option that changes a variable of the config (`data_root=...`)
            also changes what was made of it: an equal value in the model, the
            datasets and so on. Of a 0.x config they may name old keys or new ones.
        check: Whether unknown keys and types are errors.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: A key, type or option is unknown, or the file fails to run.
    """
    cfg = read_config(path)
    changes = options if isinstance(options, dict) else parse_options(options or ())
    if is_old_config(cfg):
        return _load_old(cfg, changes, check=check)
    if changes:
        _apply_options(cfg, changes)
    if check:
        check_config(cfg)
    return cfg


def read_config(path: str | Path) -> Config:
    """A config as its file and bases say it, of either form and unchecked.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file fails to run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(_missing_file(path))
    try:
        return Config.fromfile(str(path))
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:
        raise ConfigError(f'{path} cannot be read as a config: {error}') from error


def _load_old(cfg: Config, changes: dict[str, Any], *, check: bool) -> Config:
    """Read a config of mmaction2 0.x; options of 1.x apply to what becomes of it."""
    # Both forms have train_cfg and test_cfg: those of 0.x only where the file gives them.
    later = (RUNNER_KEYS - OLD_KEYS | {'train_cfg', 'test_cfg'}) - set(cfg)
    new_options = {key: changes[key] for key in changes if key.split('.')[0] in later}
    _apply_options(
        cfg, {k: v for k, v in changes.items() if k not in new_options}, RUNNER_KEYS | OLD_KEYS
    )
    try:
        new, notes = convert_old_config(cfg)
    except ConfigError as error:
        raise ConfigError(f'{cfg.filename} (of mmaction2 0.x): {error}') from error
    notes += drop_missing_backends(new)
    # Slurm says its own rank until the process group is there.
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        print(
            f'note: {cfg.filename} has the form of mmaction2 0.x and is read as it was meant; '
            'tools/misc/migrate_config.py writes the new form',
            *notes,
            sep='\n',
            file=sys.stderr,
        )
    try:
        _apply_options(new, new_options)
        if check:
            check_config(new)
    except ConfigError as error:
        raise ConfigError(f'{error} (in the new form of {cfg.filename})') from error
    return new


def parse_options(options: Iterable[str]) -> dict[str, Any]:
    """Turn `['a.b=1', 'c=x,y']` into `{'a.b': 1, 'c': ['x', 'y']}`.

    Raises:
        ConfigError: An option has no `=`.
    """
    parsed = {}
    for option in options:
        key, equals, value = option.partition('=')
        if not equals or not key.strip():
            raise ConfigError(f'--cfg-options takes KEY=VALUE pairs, and "{option}" is none')
        parsed[key.strip()] = parse_value(value)
    return parsed


def parse_value(text: str) -> Any:
    """The value that a text stands for: number, bool, None, list, tuple, dict or string.

    As in mmengine a comma makes a list (`1,2,3`), brackets nest
    (`[(1,2),(3,4)]`) and strings need no quotes. Spaces within a string stay.
    A dict is `dict(type=Flip,flip_ratio=0.5)` or `{type:Flip,flip_ratio:0.5}`;
    JSON is read as JSON. Both also stand within lists.

    Raises:
        ConfigError: A dict is malformed.
    """
    text = text.strip()
    if text[:1] in ('[', '{'):
        try:
            return json.loads(text)
        except ValueError:
            pass
    items = _split(text, ',')
    if len(items) > 1:
        return [parse_value(item) for item in items]
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        return text[1:-1]
    if text.startswith('dict(') and text.endswith(')'):
        return _parse_dict(text[5:-1], '=', text)
    if text.startswith('{') and text.endswith('}'):
        return _parse_dict(text[1:-1], ':', text)
    if text.startswith('(') and text.endswith(')'):
        return tuple(parse_value(item) for item in _split(text[1:-1], ','))
    if text.startswith('[') and text.endswith(']'):
        return [parse_value(item) for item in _split(text[1:-1], ',')]
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    if text == 'None':
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _parse_dict(inside: str, sign: str, text: str) -> dict[Any, Any]:
    result = {}
    for item in _split(inside, ','):
        key, *value = _split(item, sign, at_most=2)
        if not value or not key.strip():
            raise ConfigError(f'--cfg-options: "{item.strip()}" in {text} is no KEY{sign}VALUE')
        result[key.strip() if sign == '=' else parse_value(key)] = parse_value(value[0])
    return result


def _split(text: str, sign: str, at_most: int | None = None) -> list[str]:
    """Split at a sign outside brackets and quotes; an empty last item is dropped."""
    items, depth, start, quote = [], 0, 0, ''
    for position, letter in enumerate(text):
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"' and text[:position].rstrip()[-1:] in ('', *'([{,=:'):
            quote = letter  # within a word it is an apostrophe
        elif letter == sign and depth == 0:
            items.append(text[start:position])
            start = position + 1
            if at_most is not None and len(items) == at_most - 1:
                break
        else:
            depth += (letter in '([{') - (letter in ')]}')
    items.append(text[start:])
    return items if items[-1].strip() else items[:-1]


def _missing_file(path: Path) -> str:
    message = f'there is no config file {path}'
    if path.parent.is_dir():
        names = [p.name for p in path.parent.glob('*.py')]
        near = close_names(path.name, names, cutoff=0.5)
        if near:
            message += f'; did you mean {path.parent / near[0]}?'
    else:
        message += f': the folder {path.parent} does not exist'
    return message


def _apply_options(
    cfg: Config, options: dict[str, Any], known: frozenset[str] = RUNNER_KEYS
) -> None:
    for key in options:
        _check_option(cfg, key, known)
    variables = {key.split('.')[0] for key in options} - known
    before = {name: copy.deepcopy(cfg[name]) for name in variables}
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ConfigError(f'--cfg-options: {error}') from error
    for name, old in before.items():
        if old != cfg[name] and not _replace(cfg, name, old, cfg[name]):
            print(
                f'warning: --cfg-options {name}=... changes a variable that nothing in the '
                'config holds any more; set the key that was made of it',
                file=sys.stderr,
            )


def _check_option(cfg: Config, key: str, runner_keys: frozenset[str]) -> None:
    """Refuse an option whose way leads nowhere, naming the nearest key."""
    node: Any = cfg._cfg_dict
    parts = key.split('.')
    for depth, part in enumerate(parts):
        where = '.'.join(parts[:depth]) or 'the config'
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {where} is a list of {len(node)} items, so "{part}" '
                    f'must be an index from 0 to {len(node) - 1}'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            known = set(node) | (runner_keys if depth == 0 else set())
            if part not in known:
                if depth == 0:
                    raise ConfigError(
                        f'--cfg-options {key}: {where} has no key "{part}"'
                        + did_you_mean(part, known)
                    )
                return  # check_config knows what may be added here
            if part not in node:
                return
            node = node[part]
        else:
            if node is None and depth:
                return
            raise ConfigError(
                f'--cfg-options {key}: {where} is {node!r}, which has no key "{part}"'
            )


def _replace(cfg: Config, name: str, old: Any, new: Any) -> int:
    """Put `new` where the config holds what was made of variable `name`.

    A container or a text counts wherever it is equal to `old`; a number, flag
    or None only under the key `name` itself, since an equal one elsewhere may
    mean another thing.

    Returns:
        How many values were replaced.
    """
    anywhere = isinstance(old, (dict, list, tuple, str)) and bool(old)
    count = 0
    for holder, key in _places(cfg._cfg_dict, skip=name):
        if holder[key] == old and (anywhere or key == name):
            holder[key] = copy.deepcopy(new)
            count += 1
    return count


def _places(node: ConfigDict | list, skip: str | None = None) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a nested config; `skip` is left out at the top."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if skip is not None and key == skip:
            continue
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _places(node[key])
