"""The bases of a config, looked at before any of them is read."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.utils.cli import brief
from mmaction.utils.packaged_configs import config_folder, packaged_configs
from mmaction.utils.suggest import missing_file

__all__ = ['check_bases', 'describe_clash', 'find_base']

_VARIABLE = re.compile(r'\{\{[^{}]*\}\}')
"""`{{ fileDirname }}`, `{{$NAME:default}}`, `{{_base_.name}}`, with which YAML is not valid yet."""
_FILLED_IN = '__filled_in__'
_OWN = 'mmaction::'
_OTHERS = (
    " (of mmaction2's configs this package has one for each family; any other works from a copy, "
    'by its path)'
)


def find_base(base: str, folder: Path) -> Path | None:
    """The file that a `_base_` means, there or not; None if it is of another package.

    Args:
        base: A path from the config's folder on, the name of a config of this package, or
            `mmaction::` and a path in its `configs`, as in mmaction2.
        folder: Where the config is.
    """
    if base.startswith(_OWN):
        return config_folder() / base.removeprefix(_OWN)
    if '::' in base:
        return None
    path = folder / base
    return path if path.is_file() else packaged_configs().get(base.removesuffix('.py'), path)


def check_bases(path: Path, above: tuple[Path, ...] = ()) -> None:
    """Look whether all bases of a config, and theirs, are there and lead to an end.

    mmengine would follow a circle for as long as Python lets it.

    Args:
        path: The config.
        above: The configs of which it is a base, the first one first.

    Raises:
        FileNotFoundError: A base is not there.
        ConfigError: One leads back to a config above it, or is no name of a file.
    """
    if path.resolve() in [one.resolve() for one in above]:
        raise ConfigError(
            f'the bases go round in a circle: {" -> ".join(map(str, [*above, path]))}'
        )
    for base in _bases_of(path):
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f'_base_ of {path.name}: expected the name of a config, or a list of names, '
                f'found {brief(base)}'
            )
        target = find_base(base, path.parent)
        if target is None or _FILLED_IN in base:  # mmengine fills the value in
            continue
        if not target.is_file():
            raise FileNotFoundError(
                f'_base_ of {path}: {missing_file(target, "config file")}'
                + (_OTHERS if base.startswith(_OWN) else '')
            )
        check_bases(target, (*above, path))


def describe_clash(path: Path) -> str | None:
    """Which bases of a config, or of a base of it, set the same key; None if no two do.

    mmengine, which refuses them, says neither which files these are nor what to do.

    Args:
        path: A config whose bases have passed `check_bases`.
    """
    held: list[tuple[Path, set[str]]] = []
    for base in _bases_of(path):
        target = find_base(base, path.parent)
        if target is None or not target.is_file():
            continue
        deeper = describe_clash(target)
        if deeper is not None:
            return deeper
        keys = set(Config.fromfile(str(target), import_custom_modules=False))
        for other, others in held:
            if keys & others:
                return (
                    f'{other} and {target}, both in _base_ of {path}, both set '
                    f'{_listed(sorted(keys & others))}. {_advice(path, other, target)}'
                )
        held.append((target, keys))
    return None


def _advice(path: Path, other: Path, target: Path) -> str:
    """What to do about two bases of a config that set the same key."""
    for one, above in ((other, target), (target, other)):
        if one.resolve() in _all_bases(above):
            return (
                f'{one.name} is a base of {above.name} already: leave it out of _base_ of '
                f'{path.name}'
            )
    # A file of data may have no base that is code.
    lower, upper = sorted((other, target), key=lambda file: file.suffix == '.py')
    return (
        'Bases of one config may share no key: leave one of the two out and set what you need of '
        f'it in {path.name} itself, or make {lower.name} the _base_ of {upper.name} instead'
    )


def _all_bases(path: Path) -> set[Path]:
    found = set()
    for base in _bases_of(path):
        target = find_base(base, path.parent)
        if target is not None and target.is_file():
            found |= {target.resolve()} | _all_bases(target)
    return found


def _listed(keys: list[str]) -> str:
    more = f' and {len(keys) - 5} more keys' if len(keys) > 6 else ''
    return ', '.join(keys[:5] if more else keys) + more


def _bases_of(path: Path) -> list[Any]:
    """What stands behind `_base_`; an empty list if nothing does, or it is to be worked out."""
    named = _named_bases(path)
    return list(named) if isinstance(named, (list, tuple)) else [named]


def _named_bases(path: Path) -> Any:
    text = _VARIABLE.sub(_FILLED_IN, path.read_text(encoding='utf-8'))
    if path.suffix == '.py':
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
                try:
                    return ast.literal_eval(node.value)
                except ValueError:
                    return []
        return []
    content = []
    if path.suffix in ('.yaml', '.yml'):
        content = yaml.safe_load(text)
    elif path.suffix == '.json':
        content = json.loads(text)
    return content.get('_base_', []) if isinstance(content, dict) else []
