"""Features of clips in a folder: shards of .npz, and an index that is written last.

    OUT/store.json       what the features are of: weights, pipeline, kind
    OUT/HASH.npz         rows of features, and the names and identities of their clips
    OUT/index.json       name, shard, row and label of each clip, in the order of the list

Shards are whole or not there, so an extraction that was killed goes on with what is missing.
Several machines write to one folder, here or elsewhere, each with a list of its own clips
(`list-003-of-016.json`), which `mmaction merge` makes an index of.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Container, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmaction.errors import ConfigError
from mmaction.utils.io import write_bytes, write_json
from mmaction.utils.remote import (
    exists,
    is_remote,
    list_folder,
    open_file,
    read_bytes,
    redacted,
    remove_file,
)

__all__ = ['FeatureStore', 'clip_identity', 'load_features']

_HEAD = 1 << 16  # bytes at either end of a file that tell it from others


def clip_identity(path: str | Path) -> str:
    """What tells a file or folder of frames from another: sizes, and a hash of its two ends.

    A copy elsewhere on this machine is the same clip; a file that is not there has the identity
    ''. Of a remote clip the name is taken for its content, as in the cache of remote files: to ask
    a server about each clip of a long list would take hours.
    """
    if is_remote(path):
        return 'remote'
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
        folder: The folder, here or elsewhere, made where it is not there.
        facts: What the features are of; a folder of other facts is an error. None takes those of
            a folder that is there.

    Raises:
        ConfigError: The folder holds features of other weights, another pipeline or kind, or
            other files.
    """

    def __init__(self, folder: str | Path, facts: dict[str, Any] | None) -> None:
        self.folder = os.fspath(folder)
        path = self._path('store.json')
        if exists(path):
            there = _read_json(path)
            given = there if facts is None else json.loads(json.dumps(facts))
            other = sorted(k for k in {*given, *there} if given.get(k) != there.get(k))
            if other:
                raise ConfigError(
                    f'{redacted(self.folder)} holds features of another {", ".join(other)} than '
                    'these: give another folder, or remove it'
                )
            self.facts: dict[str, Any] = given
            return
        if facts is None or _holds_files(self.folder):
            raise ConfigError(
                f'{redacted(self.folder)} is no folder of features and not empty: give another'
            )
        write_json(path, facts)
        self.facts = json.loads(json.dumps(facts))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def rows(self) -> dict[tuple[str, str], tuple[str, int]]:
        """The shard and row of each clip, by its name and identity."""
        found = {}
        for path in list_folder(self.folder):
            if path.endswith('.npz'):
                clips, shard = json.loads(str(_read(path, 'clips'))), os.path.basename(path)
                found.update({(name, key): (shard, row) for row, (name, key) in enumerate(clips)})
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
        write_bytes(self._path(f'{name}.npz'), buffer.getvalue())

    def reopen(self) -> None:
        """Take the index away: the features are complete when it is written again."""
        remove_file(self._path('index.json'))

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
        missing = self.missing(clips, rows)
        entries = [
            [clip[0], *rows[clip], label]
            for clip, label in zip(clips, labels, strict=True)
            if clip in rows
        ]
        names = None if classes is None else [*classes]
        content = dict(clips=entries, missing=missing, classes=names)
        write_json(self._path('index.json'), content, indent=None)
        return missing

    @staticmethod
    def missing(clips: Sequence[tuple[str, str]], rows: Container[tuple[str, str]]) -> list[str]:
        """Names of those clips that are not among the rows."""
        return [name for name, key in clips if (name, key) not in rows]

    def write_list(
        self,
        label: str,
        clips: Sequence[tuple[str, str]],
        labels: Sequence[int | list[float]],
        classes: Sequence[str] | None,
    ) -> None:
        """Write down the clips of a share, for `merge`; the arguments are those of `finish`."""
        names = None if classes is None else [*classes]
        content = dict(clips=list(clips), labels=list(labels), classes=names)
        write_json(self._path(f'list-{label}.json'), content, indent=None)

    def merge(self, labels: Sequence[str]) -> list[str]:
        """Write the index of all shares, the clips of which lie one behind the other in turns.

        Args:
            labels: Of the shares, in their order.

        Returns:
            Names of clips that have no features.

        Raises:
            ConfigError: The shares have different classes.
        """
        lists = [_read_json(self._path(f'list-{label}.json')) for label in labels]
        if any(each['classes'] != lists[0]['classes'] for each in lists):
            raise ConfigError(
                f'{redacted(self.folder)}: the shares have different classes: extract again'
            )
        columns = [zip(each['clips'], each['labels'], strict=True) for each in lists]
        turns = (pair for turn in zip_longest(*columns) for pair in turn if pair is not None)
        pairs = [((name, key), label) for (name, key), label in turns]
        return self.finish([c for c, _ in pairs], [la for _, la in pairs], lists[0]['classes'])


def _holds_files(folder: str) -> bool:
    """Whether a folder holds something beside what another process is just writing."""
    if is_remote(folder):
        try:
            return bool(list_folder(folder))
        except FileNotFoundError:  # an object store has no empty folders
            return False
    path = Path(folder)
    return path.is_dir() and any(not each.name.startswith('.') for each in path.iterdir())


def _read(path: str, key: str) -> np.ndarray:
    """An array of a shard."""
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as arrays:
            found: np.ndarray = arrays[key]
            return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        shown = redacted(path)
        raise ConfigError(f'{shown} is damaged ({error}): remove it, and extract again') from error


def _read_json(path: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(read_bytes(path, fresh=True))
        return content
    except ValueError as error:
        shown = redacted(path)
        raise ConfigError(f'{shown} is damaged: remove it, and extract again') from error


def load_features(folder: str | Path) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """All features of a finished extraction, in the order of its list.

    Returns:
        Features (N, C) or (N, C, T, H, W), labels (N,) or (N, K), and a dict with `facts`
        (what they are of), `names` of the clips and `classes`.

    Raises:
        ConfigError: The folder holds none, or the extraction is not finished.
    """
    folder = os.fspath(folder)
    shown = redacted(folder)
    if not exists(os.path.join(folder, 'store.json')):
        raise ConfigError(f'{shown} is no folder of features: it holds no store.json')
    if not exists(os.path.join(folder, 'index.json')):
        raise ConfigError(
            f'the features in {shown} are not complete: run the extraction again; after '
            f'--shard, "mmaction merge {shown}"'
        )
    index = _read_json(os.path.join(folder, 'index.json'))
    entries = index['clips']
    if not entries:
        raise ConfigError(f'{shown} holds features of no clip')
    places: dict[str, list[tuple[int, int]]] = {}
    for position, (_, shard, row, _) in enumerate(entries):
        places.setdefault(shard, []).append((position, row))
    features: Tensor | None = None
    for shard, rows in places.items():
        part = torch.from_numpy(_read(os.path.join(folder, shard), 'features'))
        if features is None:
            features = part.new_empty(len(entries), *part.shape[1:])
        to, of = (torch.tensor(each) for each in zip(*rows, strict=True))
        features[to] = part[of]
    assert features is not None
    labels = torch.tensor([label for *_, label in entries])
    facts = _read_json(os.path.join(folder, 'store.json'))
    names = [name for name, *_ in entries]
    return features, labels, dict(facts=facts, names=names, classes=index['classes'])
