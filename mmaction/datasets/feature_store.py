"""Features of clips in a folder: shards of .npz, and an index that is written last.

    OUT/store.json       what the features are of: weights, pipeline, kind
    OUT/HASH.npz         rows of features, and the names and identities of their clips
    OUT/index.json       name, shard, row and label of each clip, in the order of the list

Shards are whole or not there, so an extraction that was killed goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmaction.errors import ConfigError
from mmaction.utils.io import write_bytes, write_json

__all__ = ['FeatureStore', 'clip_identity', 'load_features']

_HEAD = 1 << 16  # bytes at either end of a file that tell it from others


def clip_identity(path: str | Path) -> str:
    """What tells a file or folder of frames from another: sizes, and a hash of its two ends.

    A copy elsewhere is the same clip; a file that is not there has the identity ''.
    """
    path = Path(path)
    if path.is_dir():
        frames = sorted((each.name, each.stat().st_size) for each in path.iterdir())
        return hashlib.sha256(json.dumps(frames).encode()).hexdigest()[:16]
    if not path.is_file():
        return ''
    size = path.stat().st_size
    with path.open('rb') as file:
        digest = hashlib.sha256(file.read(_HEAD))
        if size > _HEAD:
            file.seek(-min(size - _HEAD, _HEAD), 2)
            digest.update(file.read())
    return f'{size}-{digest.hexdigest()[:16]}'


class FeatureStore:
    """A folder of features.

    Args:
        folder: The folder, made where it is not there.
        facts: What the features are of; a folder of other facts is an error.

    Raises:
        ConfigError: The folder holds features of other weights, another pipeline or kind, or
            other files.
    """

    def __init__(self, folder: str | Path, facts: dict[str, Any]) -> None:
        self.folder = Path(folder)
        path = self.folder / 'store.json'
        facts = json.loads(json.dumps(facts))
        if path.is_file():
            there = _read_json(path)
            other = sorted(k for k in {*facts, *there} if facts.get(k) != there.get(k))
            if other:
                raise ConfigError(
                    f'{self.folder} holds features of another {", ".join(other)} than these: give '
                    'another folder, or remove it'
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigError(f'{self.folder} is no folder of features and not empty: give another')
        else:
            write_json(path, facts)
        self.facts = facts

    def rows(self) -> dict[tuple[str, str], tuple[str, int]]:
        """The shard and row of each clip, by its name and identity."""
        found = {}
        for shard in sorted(self.folder.glob('*.npz')):
            clips = json.loads(str(_read(shard, 'clips')))
            found.update({(name, key): (shard.name, row) for row, (name, key) in enumerate(clips)})
        return found

    def write(self, clips: Sequence[tuple[str, str]], features: Tensor) -> None:
        """Write a shard.

        Args:
            clips: Name and identity of each of N clips.
            features: (N, ...).
        """
        named, buffer = json.dumps(list(clips)), io.BytesIO()
        np.savez(buffer, features=features.numpy(), clips=np.array(named))
        name = hashlib.sha256(named.encode()).hexdigest()[:12]
        write_bytes(self.folder / f'{name}.npz', buffer.getvalue())

    def finish(
        self,
        clips: Sequence[tuple[str, str]],
        labels: Sequence[int | list[float]],
        classes: Sequence[str] | None = None,
    ) -> list[str]:
        """Write the index.

        Args:
            clips: Name and identity of all clips, in the order of the list.
            labels: The class of each, or a number for each class.
            classes: Names of the classes.

        Returns:
            Names of clips that have no features.
        """
        rows = self.rows()
        missing = [name for name, key in clips if (name, key) not in rows]
        entries = [
            [clip[0], *rows[clip], label]
            for clip, label in zip(clips, labels, strict=True)
            if clip in rows
        ]
        names = None if classes is None else [*classes]
        content = dict(clips=entries, missing=missing, classes=names)
        write_json(self.folder / 'index.json', content, indent=None)
        return missing


def _read(shard: Path, key: str) -> np.ndarray:
    """An array of a shard."""
    try:
        with np.load(shard, allow_pickle=False) as arrays:
            found: np.ndarray = arrays[key]
            return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f'{shard} is damaged ({error}): remove it, and extract again') from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        return content
    except ValueError as error:
        raise ConfigError(f'{path} is damaged: remove it, and extract again') from error


def load_features(folder: str | Path) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """All features of a finished extraction, in the order of its list.

    Returns:
        Features (N, C) or (N, C, T, H, W), labels (N,) or (N, K), and a dict with `facts`
        (what they are of), `names` of the clips and `classes`.

    Raises:
        ConfigError: The folder holds none, or the extraction is not finished.
    """
    folder = Path(folder)
    if not (folder / 'store.json').is_file():
        raise ConfigError(f'{folder} is no folder of features: it holds no store.json')
    if not (folder / 'index.json').is_file():
        raise ConfigError(f'the features in {folder} are not complete: run the extraction again')
    index = _read_json(folder / 'index.json')
    entries = index['clips']
    if not entries:
        raise ConfigError(f'{folder} holds features of no clip')
    places: dict[str, list[tuple[int, int]]] = {}
    for position, (_, shard, row, _) in enumerate(entries):
        places.setdefault(shard, []).append((position, row))
    features: Tensor | None = None
    for shard, rows in places.items():
        part = torch.from_numpy(_read(folder / shard, 'features'))
        if features is None:
            features = part.new_empty(len(entries), *part.shape[1:])
        to, of = (torch.tensor(each) for each in zip(*rows, strict=True))
        features[to] = part[of]
    assert features is not None
    labels = torch.tensor([label for *_, label in entries])
    facts = _read_json(folder / 'store.json')
    names = [name for name, *_ in entries]
    return features, labels, dict(facts=facts, names=names, classes=index['classes'])
