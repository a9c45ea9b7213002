"""The bases of a config, looked at before any of them is read."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import yaml

from mmaction.errors import ConfigError
from mmaction.utils.cli import brief
from mmaction.utils.packaged_configs import packaged_configs
from mmaction.utils.suggest import missing_file

__all__ = ['check_bases']

_VARIABLE = re.compile(r'\{\{[^{}]*\}\}')
"""`{{ fileDirname }}`, `{{$NAME:default}}`, `{{_base_.name}}`, with which YAML is not valid yet."""
_FILLED_IN = '__filled_in__'


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
    named = _bases_of(path)
    for base in named if isinstance(named, (list, tuple)) else [named]:
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f'_base_ of {path.name}: expected the name of a config, or a list of names, '
                f'found {brief(base)}'
            )
        # Of another package, or with a value that mmengine fills in.
        if '::' in base or _FILLED_IN in base:
            continue
        target = Path(path.parent, base)
        if target.is_file():
            check_bases(target, (*above, path))
        elif base.removesuffix('.py') not in packaged_configs():
            raise FileNotFoundError(f'_base_ of {path}: {missing_file(target, "config file")}')


def _bases_of(path: Path) -> Any:
    """What stands behind `_base_`; an empty list if nothing does, or it is to be worked out."""
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
