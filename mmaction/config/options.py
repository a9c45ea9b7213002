"""`--cfg-options`: what KEY=VALUE stands for, and where in a config it goes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from mmaction.errors import ConfigError
from mmaction.utils.cli import brief, print_notes
from mmaction.utils.plurals import how_many
from mmaction.utils.suggest import did_you_mean

from .known_keys import RUNNER_KEYS

__all__ = ['Options', 'apply_options', 'parse_options', 'parse_value', 'places']

Options = Iterable[str] | dict[str, Any] | None
"""`KEY=VALUE` strings as `--cfg-options` takes them, or what they are parsed to."""


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


def parse_value(text: str) -> Any:  # noqa: C901 (one branch for each kind of value)
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


def apply_options(
    cfg: Config, options: dict[str, Any], known: frozenset[str] = RUNNER_KEYS
) -> None:
    """Change a config.

    Args:
        cfg: The config.
        options: Values by dotted paths.
        known: Keys that a config may have beside those that it has.

    Raises:
        ConfigError: A key leads nowhere.
    """
    for key in options:
        _check_option(cfg, key, known)
        _check_list_item(cfg, key, options[key])
    variables = {key.split('.')[0] for key in options} - known
    before = {name: copy.deepcopy(cfg[name]) for name in variables}
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ConfigError(f'--cfg-options: {error}') from error
    for name, old in before.items():
        if old != cfg[name] and not _replace(cfg, name, old, cfg[name]):
            print_notes(
                f'warning: --cfg-options {name}=... changes a variable that nothing in the '
                'config holds any more; set the key that was made of it'
            )


def _check_list_item(cfg: Config, key: str, value: object) -> None:
    """Refuse to put anything but a dict in the place of one in a list, which mmengine cannot."""
    *way, last = key.split('.')
    node = cfg._cfg_dict
    for part in way:
        node = node[int(part)] if isinstance(node, (list, tuple)) else (node or {}).get(part)
    if isinstance(node, list) and isinstance(node[int(last)], dict) and not isinstance(value, dict):
        raise ConfigError(f'--cfg-options {key}: expected a dict with "type", found {brief(value)}')


_NEW_KEY = (
    ', and nothing would read a new one: give the whole path of the key that is meant '
    '(model.backbone.depth=50), or add what modules of yours read to the config file'
)


def _check_option(cfg: Config, key: str, runner_keys: frozenset[str]) -> None:
    """Refuse an option whose way leads nowhere, naming the nearest key."""
    node = cfg._cfg_dict
    parts = key.split('.')
    for depth, part in enumerate(parts):
        where = '.'.join(parts[:depth]) or 'the config'
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {where} is a list of {how_many(len(node), "item")}, so '
                    f'"{part}" must be an index from 0 to {len(node) - 1}'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            known = set(node) | (runner_keys if depth == 0 else set())
            if part not in known:
                if depth == 0:
                    raise ConfigError(
                        f'--cfg-options {key}: {where} has no key "{part}"'
                        + (did_you_mean(part, known) or _NEW_KEY)
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


def _replace(cfg: Config, name: str, old: object, new: object) -> int:
    """Put `new` where the config holds what was made of variable `name`.

    A container or a text counts wherever it is equal to `old`; a number, flag
    or None only under the key `name` itself, since an equal one elsewhere may
    mean another thing.

    Returns:
        How many values were replaced.
    """
    anywhere = isinstance(old, (dict, list, tuple, str)) and bool(old)
    count = 0
    for holder, key in places(cfg._cfg_dict, skip=name):
        if holder[key] == old and (anywhere or key == name):
            holder[key] = copy.deepcopy(new)
            count += 1
    return count


def places(node: ConfigDict | list[Any], skip: str | None = None) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a nested config; `skip` is left out at the top."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if skip is not None and key == skip:
            continue
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])
