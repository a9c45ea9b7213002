"""Configs that come with the package, and finding one by its name."""

from __future__ import annotations

import re
from pathlib import Path

from mmaction.errors import ConfigError

from .suggest import close_names, missing_file, other_kind

__all__ = ['close_configs', 'config_folder', 'find_config', 'packaged_configs', 'published_model']

_MOST_OF_FAMILY = 3


def config_folder() -> Path:
    """The folder of the configs: beside the package in a checkout, within it in a wheel.

    Raises:
        FileNotFoundError: There is neither.
    """
    package = Path(__file__).parents[1]
    places = [root / 'configs' for root in (package.parent, package)]
    for place in places:
        if (place / '_base_' / 'default_runtime.py').is_file():
            return place
    raise FileNotFoundError(
        f'the configs {places[1]} are not there: the installation is incomplete'
    )


def packaged_configs() -> dict[str, Path]:
    """The configs of the package by their names; those that are only bases of others left out."""
    files = sorted((config_folder() / 'recognition').rglob('*.py'))
    return {path.stem: path for path in files}


def published_model(name: str) -> tuple[Path, str] | None:
    """A config whose trained weights can be downloaded, and their address; None if there is none.

    Args:
        name: The config's name, or a family's of docs/model_zoo.md (`tsn`), in any case.
    """
    import yaml

    for file in sorted((config_folder() / 'recognition').rglob('metafile.yml')):
        for entry in yaml.safe_load(file.read_text(encoding='utf-8')).get('Models') or []:
            family, _, stem = entry['Name'].lower().rpartition('/')
            weights = str(entry.get('Weights'))
            # Others have a page from which they are downloaded by hand.
            if (
                name
                and name.lower() in (family, stem)
                and weights.endswith(('.pth', '.safetensors'))
            ):
                return file.parent / f'{entry["Name"]}.py', weights
    return None


def close_configs(name: str) -> list[str]:
    """The configs of the package that a name without one may mean: the nearest, or a family's."""
    packaged = packaged_configs()
    near = close_names(name, packaged, count=2)
    if near:
        return near
    families = {path.parent.name for path in packaged.values()}
    family = close_names(name.lower(), families, cutoff=0.7)
    return [n for n, path in packaged.items() if [path.parent.name] == family][:_MOST_OF_FAMILY]


def find_config(name: str | Path) -> Path:
    """The config file that a path or a name means.

    Args:
        name: A file, or a config of the package: its name with or without `.py`, or its
            path from `configs/` on.

    Raises:
        FileNotFoundError: There is neither such a file nor such a config.
        ConfigError: The file is a checkpoint or a video.
    """
    path = Path(name).expanduser()
    if path.is_file():
        other = other_kind(path, 'config file')
        if other is not None:
            raise ConfigError(other)
        return path
    if path.exists():
        raise FileNotFoundError(missing_file(path, 'config file'))
    text = path.as_posix()
    packaged = packaged_configs()
    if '/' not in text and text.removesuffix('.py') in packaged:
        return packaged[text.removesuffix('.py')]
    within = config_folder() / text.removeprefix('configs/')
    if not path.is_absolute() and within.suffix == '.py' and within.is_file():
        return within
    message = missing_file(path, 'config file')
    # Another kind of file of this folder is meant less than a config of the package.
    if not re.search(r'did you mean .*\.(py|ya?ml|json)\b', message):
        near = close_configs(path.stem if path.suffix == '.py' else path.name)
        if near:
            message = f'there is no config {name}; did you mean {" or ".join(near)}?'
        elif '/' not in text and 'did you mean' not in message:
            message += ' ("mmaction info --configs" lists those of the package)'
    raise FileNotFoundError(message)
