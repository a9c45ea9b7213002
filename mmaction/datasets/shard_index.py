"""Where each clip lies in tar files: an index that all workers of a machine share.

The index is an uncompressed `.npz` (`numpy.load` reads it), whose arrays are mapped into memory
instead of read: a million clips take the pages that are touched once for all processes, and
opening takes no time. Entry i is line i of the list that was packed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import tarfile
import zipfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mmaction.utils.file_cache import waiting_lock
from mmaction.utils.file_types import VIDEO_EXTENSIONS
from mmaction.utils.io import atomic_path, file_digest
from mmaction.utils.remote import (
    cache_folder,
    exists,
    file_size,
    is_remote,
    list_folder,
    local_path,
    open_file,
    redacted,
)

__all__ = [
    'INDEX_NAME',
    'ShardEntry',
    'ShardIndex',
    'expand_shards',
    'find_index',
    'index_shards',
    'write_index',
]

INDEX_NAME = 'index.npz'
_BRACES = re.compile(r'\{(\d+)\.\.(\d+)\}')
_COLUMNS = {
    'shard': np.int32,
    'offset': np.int64,
    'size': np.int64,
    'name_end': np.int64,
    'label_end': np.int64,
    'label': np.int32,
}


class ShardEntry(NamedTuple):
    """A clip in a shard.

    Args:
        name: Its path in the list that was packed, or its key in the shard.
        labels: Its labels; none if it has none.
        shard: Number of the shard.
        offset: First byte in the shard.
        size: Bytes; 0 for a clip that could not be read when it was to be packed.
    """

    name: str
    labels: Sequence[int]
    shard: int
    offset: int
    size: int


def write_index(
    path: str | Path,
    shards: Sequence[str],
    entries: Iterable[ShardEntry],
    sizes: Sequence[int | None] | None = None,
) -> int:
    """Write an index; returns the number of entries.

    Args:
        path: The file.
        shards: Names of the tar files, from the folder of the index on, or addresses.
        entries: The clips, in the order of their list.
        sizes: Bytes of the tar files, by which one that was written anew is told; None where
            they are unknown.
    """
    columns = {name: array('i' if kind is np.int32 else 'q') for name, kind in _COLUMNS.items()}
    names = bytearray()
    for entry in entries:
        names += os.fsencode(entry.name)
        columns['label'].extend(entry.labels)
        columns['name_end'].append(len(names))
        columns['label_end'].append(len(columns['label']))
        columns['shard'].append(entry.shard)
        columns['offset'].append(entry.offset)
        columns['size'].append(entry.size)
    arrays = {name: np.frombuffer(columns[name], kind) for name, kind in _COLUMNS.items()}
    count = len(columns['size'])
    if len(arrays['label']) == count and (np.diff(arrays['label_end'], prepend=0) == 1).all():
        del arrays['label_end']  # one label each, as nearly always
    arrays['names'] = np.frombuffer(bytes(names), np.uint8)
    arrays['shards'] = np.frombuffer(json.dumps(list(shards)).encode(), np.uint8)
    if sizes is not None:
        arrays['shard_size'] = np.array([-1 if size is None else size for size in sizes], np.int64)
    with atomic_path(path) as part, part.open('wb') as file:
        np.savez(file, allow_pickle=False, **arrays)
    return count


class ShardIndex:
    """The clips of some tar files.

    It is cheap to hand to a worker that is spawned: only the path travels, and the arrays are
    mapped again.

    Args:
        path: File of an index, here or elsewhere.

    Attributes:
        shards: Paths of the tar files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no index.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        try:
            self._arrays = _mapped(local_path(path))
            names: list[str] = json.loads(self._arrays['shards'].tobytes())
            self._size = self._arrays['size']
            for name in ('shard', 'offset', 'name_end', 'names', 'label'):
                self._arrays[name]
        except (zipfile.BadZipFile, KeyError, ValueError, struct.error) as error:
            raise ValueError(
                f'{redacted(path)} is no index of shards ({error}): "mmaction pack" writes one'
            ) from None
        folder = os.path.dirname(self.path)
        self.shards = [name if is_remote(name) else os.path.join(folder, name) for name in names]

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardIndex, (self.path,)

    def __len__(self) -> int:
        return len(self._size)

    def __getitem__(self, position: int) -> ShardEntry:
        columns = self._arrays
        end = int(columns['name_end'][position])
        start = int(columns['name_end'][position - 1]) if position else 0
        return ShardEntry(
            os.fsdecode(columns['names'][start:end].tobytes()),
            self.labels(position),
            int(columns['shard'][position]),
            int(columns['offset'][position]),
            int(self._size[position]),
        )

    def labels(self, position: int) -> list[int]:
        """The labels of a clip."""
        if 'label_end' not in self._arrays:
            return [int(self._arrays['label'][position])]
        ends = self._arrays['label_end']
        start = int(ends[position - 1]) if position else 0
        found: list[int] = self._arrays['label'][start : int(ends[position])].tolist()
        return found

    @property
    def shard_sizes(self) -> list[int | None]:
        """Bytes of the tar files when the index was written; None where it does not say."""
        if 'shard_size' not in self._arrays:
            return [None] * len(self.shards)
        return [None if size < 0 else size for size in self._arrays['shard_size'].tolist()]

    def digest(self) -> str:
        """SHA-256 of what the index says of the clips: the same with and without sizes of shards.

        That of the file would change when shards are packed again whose index has no sizes.
        """
        if 'shard_size' not in self._arrays:
            return file_digest(local_path(self.path))
        content = io.BytesIO()
        about_clips = {k: v for k, v in self._arrays.items() if k != 'shard_size'}
        np.savez(content, allow_pickle=False, **about_clips)
        return hashlib.sha256(content.getbuffer()).hexdigest()

    @property
    def all_labels(self) -> np.ndarray:
        """The labels (L,) of all clips one behind the other."""
        return self._arrays['label']

    @property
    def label_counts(self) -> np.ndarray:
        """How many labels each clip (N,) has."""
        if 'label_end' not in self._arrays:
            return np.ones(len(self), np.int64)
        return np.diff(self._arrays['label_end'], prepend=0)

    def blocks(self) -> np.ndarray:
        """Where (S + 1,) the clips of one shard end and those of the next one begin."""
        changes = np.flatnonzero(np.diff(self._arrays['shard'])) + 1
        return np.concatenate([[0], changes, [len(self)]])


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz, mapped into memory, which `numpy.load` cannot do."""
    arrays: dict[str, np.ndarray] = {}
    with path.open('rb') as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError('its arrays are compressed')
            file.seek(member.header_offset + 26)
            file.seek(sum(struct.unpack('<HH', file.read(4))), os.SEEK_CUR)
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f'its arrays are of version {version}')
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            name = member.filename.removesuffix('.npy')
            if dtype.hasobject or len(shape) != 1:
                raise ValueError(f'{name!r} is no row of numbers')
            if shape[0]:
                arrays[name] = np.memmap(file, dtype, 'r', file.tell(), shape)
            else:
                arrays[name] = np.empty(0, dtype)
    return arrays


def expand_shards(pattern: str) -> list[str]:
    """Paths that 'clips-{000000..000012}.tar' stands for, or the tar files of a folder.

    Raises:
        FileNotFoundError: The folder has none.
    """
    braces = _BRACES.search(pattern)
    if braces:
        first, last = braces[1], braces[2]
        return [
            path
            for number in range(int(first), int(last) + 1)
            for path in expand_shards(
                f'{pattern[: braces.start()]}{number:0{len(first)}}{pattern[braces.end() :]}'
            )
        ]
    if pattern.endswith('.tar'):
        return [pattern]
    found = [path for path in list_folder(pattern) if path.endswith('.tar')]
    if not found:
        raise FileNotFoundError(f'there are no .tar files in {redacted(pattern)}')
    return found


def find_index(source: str, label_key: str = 'label') -> ShardIndex:
    """The index of some shards, built where there is none yet.

    Args:
        source: An index, the folder of one, or WebDataset's shards as in `expand_shards`. What
            is built stands beside local shards, and of remote ones in the cache folder.
        label_key: Where the label stands in a `.json` of a sample.

    Raises:
        FileNotFoundError: There are no such files.
        ValueError: They are no shards.
    """
    if source.endswith('.npz'):
        return ShardIndex(source)
    single = source.endswith('.tar') or _BRACES.search(source)
    beside = '' if single else os.path.join(source, INDEX_NAME)
    if beside and exists(beside):
        return ShardIndex(beside)
    shards = expand_shards(source)
    path = _place_of_index(source, shards)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One process of a machine builds it, the others wait.
    with waiting_lock(path.with_suffix('.lock')):
        if not path.exists():
            index_shards(path, shards, label_key)
    return ShardIndex(path)


def _place_of_index(source: str, shards: Sequence[str]) -> Path:
    folder = Path(shards[0]).parent
    if not is_remote(source) and os.access(folder, os.W_OK):
        whole = not (source.endswith('.tar') or _BRACES.search(source))
        name = '' if whole else f'.{hashlib.sha256(source.encode()).hexdigest()[:8]}'
        return folder / f'index{name}.npz'
    return cache_folder() / f'index-{hashlib.sha256(source.encode()).hexdigest()[:32]}.npz'


def index_shards(path: str | Path, shards: Sequence[str], label_key: str = 'label') -> int:
    """Read shards from their beginning to their end, once, and write their index.

    Args:
        path: Where to write it.
        shards: Tar files in WebDataset's naming: `KEY.mp4` with `KEY.cls` (a number) or
            `KEY.json` (an object with the label) beside it. Samples without a video are left
            out, and are an error if there are no others.
        label_key: Where the label stands in a `.json`.

    Returns:
        The number of clips.

    Raises:
        ValueError: A file is no tar file or cut off, or a label is no number.
    """
    entries = (
        entry
        for number, shard in enumerate(shards)
        for entry in _entries_of_shard(shard, number, label_key)
    )
    folder = Path(path).parent
    names = []
    for shard in shards:
        beside = not is_remote(shard) and Path(shard).parent.resolve() == folder.resolve()
        far = shard if is_remote(shard) else str(Path(shard).resolve())
        names.append(Path(shard).name if beside else far)
    count = write_index(path, names, entries, [file_size(shard) for shard in shards])
    if not count:
        Path(path).unlink(missing_ok=True)
        raise ValueError(f'{redacted(shards[0])}: no sample holds a video (KEY.mp4, ...)')
    return count


def _entries_of_shard(shard: str, number: int, label_key: str) -> Iterator[ShardEntry]:
    key: str | None = None
    labels: list[int] = []
    video: ShardEntry | None = None
    try:
        with open_file(shard) as file, tarfile.open(fileobj=file, mode='r:') as archive:
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, base = member.name.rpartition('/')
                stem, _, extension = base.partition('.')
                name = f'{folder}/{stem}' if folder else stem
                if name != key:
                    if video is not None:
                        yield video._replace(labels=labels or [-1])
                    key, labels, video = name, [], None
                if f'.{extension.lower()}' in VIDEO_EXTENSIONS:
                    video = ShardEntry(member.name, [], number, member.offset_data, member.size)
                elif extension in ('cls', 'json'):
                    content = archive.extractfile(member)
                    assert content is not None
                    labels = _labels_in(content, extension, label_key) or labels
            _check_end(archive, file)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ValueError(f'{redacted(shard)} is no whole tar file of clips: {error}') from None
    if video is not None:
        yield video._replace(labels=labels or [-1])


def _check_end(archive: tarfile.TarFile, file: BinaryIO) -> None:
    """tarfile takes the end of a file that was cut off for the end of the archive."""
    size = file.seek(0, os.SEEK_END)
    last = archive.offset
    file.seek(last)
    if size < last or not file.read(512) or size == 0:
        raise ValueError('the file is cut off')


def _labels_in(content: Any, extension: str, label_key: str) -> list[int]:
    text = content.read().decode()
    found = int(text) if extension == 'cls' else json.loads(text)
    if isinstance(found, dict):
        found = found.get(label_key)
    several = found if isinstance(found, list) else [] if found is None else [found]
    if any(type(label) is not int for label in several):
        raise ValueError(f'label {str(several)[:60]} of a sample is no number')
    return several
