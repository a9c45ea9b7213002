"""Packing the clips of a list into tar files that are read fast.

What goes where follows from the list and the sizes of its files alone, so several machines can
each pack a share, and a run that was killed goes on with the tar files that are missing.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.datasets.shard_index import INDEX_NAME, ShardEntry, ShardIndex, write_index
from mmaction.utils.class_names import class_names_beside
from mmaction.utils.file_types import VIDEO_EXTENSIONS
from mmaction.utils.io import atomic_path, file_digest, lock, write_lines
from mmaction.utils.plurals import how_many
from mmaction.utils.remote import file_size, is_remote, local_path, open_file, read_bytes
from mmaction.utils.work_share import WorkShare

from .jobs import check_settings, report_failures
from .share_records import Record, failures_name, write_record

__all__ = ['PackRequest', 'merge_packed', 'pack_list']

SETTINGS = 'pack.json'
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE


class PackRequest(NamedTuple):
    """What to pack.

    Args:
        list: Annotation list of videos.
        out: Folder to write to, here or elsewhere.
        prefix: Folder of the videos; that of the list if None.
        size: Bytes after which a tar file ends.
        multi_class: Lines have any number of labels.
        delimiter: What parts path and label.
        share: Which part of the list.
    """

    list: str
    out: str
    prefix: str | None = None
    size: int = 512_000_000
    multi_class: bool = False
    delimiter: str = ' '
    share: WorkShare = WorkShare()


class _Clip(NamedTuple):
    """A clip and where it goes; `size` 0 is one that cannot be read."""

    position: int
    name: str
    path: str
    labels: list[int]
    size: int
    reason: str = ''

    @property
    def key(self) -> str:
        return f'{self.position:09}'

    @property
    def members(self) -> list[tuple[str, bytes]]:
        """What stands behind the video: the label, and where the clip came from."""
        facts = json.dumps(dict(path=self.name, label=_one(self.labels)), ensure_ascii=True)
        behind = [(f'{self.key}.json', facts.encode())]
        if len(self.labels) == 1 and self.labels[0] >= 0:
            behind.insert(0, (f'{self.key}.cls', str(self.labels[0]).encode()))
        return behind

    @property
    def space(self) -> int:
        """Bytes in the tar file."""
        sizes = [self.size, *(len(content) for _, content in self.members)]
        return sum(_BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes)


def _one(labels: list[int]) -> Any:
    return labels[0] if len(labels) == 1 else labels


def pack_list(request: PackRequest) -> int:
    """Pack a list, or a share of it, and write the index; prints what was done.

    Returns:
        The number of clips that could not be packed. They stay in the index, as clips that
        cannot be read, so that all others keep their numbers.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: The list is malformed, or the folder holds another one.
    """
    form = ListFormat('filename', delimiter=request.delimiter, multi_class=request.multi_class)
    entries = read_list(request.list, form)
    if not is_remote(request.out):
        Path(request.out).mkdir(parents=True, exist_ok=True)
        name = _index_name(request.share)
        with lock(Path(request.out, name), 'tool', is_file=True):
            return _pack(request, entries)
    return _pack(request, entries)


def _index_name(share: WorkShare) -> str:
    return INDEX_NAME if share.is_all else f'index-{share.label}.npz'


def _pack(request: PackRequest, entries: Sequence[dict[str, object]]) -> int:
    from tqdm import tqdm

    out, share = request.out, request.share
    settings = dict(
        list=os.path.basename(request.list),
        sha256=file_digest(local_path(request.list)),
        clips=len(entries),
        size=request.size,
    )
    if not share.is_all:
        # Shares of another number have files of the same names, with other clips in them.
        settings['shares'] = share.count
    check_settings(os.path.join(out, SETTINGS), settings, overwrite=None)
    mine = share.stretch(len(entries))
    prefix = os.path.dirname(request.list) if request.prefix is None else request.prefix
    clips = [_clip(position, entries[position], prefix) for position in mine]
    packs = list(_packs(clips, request.size))
    start = '' if share.is_all else f'{share.index:03}-'
    names = [f'clips-{start}{number:06}.tar' for number in range(len(packs))]
    written = 0
    for name, pack in zip(names, tqdm(packs, desc='pack', unit='shard'), strict=True):
        path = os.path.join(out, name)
        if not _is_done(path, pack):
            _write_pack(path, pack)
            written += 1
    sizes = [file_size(os.path.join(out, name)) for name in names]
    write_index(os.path.join(out, _index_name(share)), names, _index_entries(packs), sizes)
    classes = class_names_beside(request.list)
    if classes:
        write_lines(os.path.join(out, 'classes.txt'), classes)
    bad = {clip.path: clip.reason for clip in clips if not clip.size}
    if not is_remote(out):
        report_failures(bad, Path(out, failures_name(share)), 'clips could not be packed')
    if not share.is_all:
        write_record(out, Record('pack', share, len(entries), [], bad))
    packed = f'{how_many(len(clips) - len(bad), "clip")} in {how_many(len(packs), "shard")}'
    print(f'{out}: {packed}, {written} of them written now, {len(bad)} failed')
    return len(bad)


def _clip(position: int, entry: dict[str, Any], prefix: str) -> _Clip:
    """What is to be packed of an entry of the list."""
    name = entry['filename']
    labels = entry['label'] if isinstance(entry['label'], list) else [entry['label']]
    path = os.path.join(prefix, name)
    if os.path.splitext(path)[1].lower() not in VIDEO_EXTENSIONS:
        path = f'{path}.mp4'
    try:
        size = file_size(path)
    except OSError as error:
        return _Clip(position, name, path, labels, 0, error.strerror or str(error))
    if not size:
        return _Clip(position, name, path, labels, 0, 'the file is empty')
    return _Clip(position, name, path, labels, size)


def _packs(clips: Sequence[_Clip], size: int) -> Iterator[list[_Clip]]:
    """Clips one behind the other, cut where a tar file would be larger than `size`."""
    pack: list[_Clip] = []
    total = 2 * _BLOCK
    for clip in clips:
        space = clip.space if clip.size else 0
        if pack and total + space > size:
            yield pack
            pack, total = [], 2 * _BLOCK
        pack.append(clip)
        total += space
    if pack:
        yield pack


def _length(pack: Sequence[_Clip]) -> int:
    """Bytes of a tar file."""
    total = 2 * _BLOCK + sum(clip.space for clip in pack if clip.size)
    return -(-total // _RECORD) * _RECORD


def _is_done(path: str, pack: Sequence[_Clip]) -> bool:
    """Whether a tar file is there, whole, and not older than what it holds."""
    try:
        if file_size(path) != _length(pack):
            return False
    except OSError:
        return False
    if is_remote(path):
        return True
    made = Path(path).stat().st_mtime_ns
    here = (clip.path for clip in pack if clip.size and not is_remote(clip.path))
    return all(Path(one).stat().st_mtime_ns <= made for one in here)


def _write_pack(path: str, pack: Sequence[_Clip]) -> None:
    """Write a tar file.

    Raises:
        ValueError: A file has changed since its size was looked up.
    """
    with (
        atomic_path(path) as part,
        tarfile.open(part, 'w', format=tarfile.USTAR_FORMAT) as archive,
    ):
        for clip in pack:
            if not clip.size:
                continue
            extension = os.path.splitext(clip.path)[1].lower()
            info = tarfile.TarInfo(f'{clip.key}{extension}')
            info.size = clip.size
            try:
                with open_file(clip.path) as file:
                    archive.addfile(info, file)
            except OSError as error:
                if 'unexpected end' in str(error):
                    raise ValueError(
                        f'{clip.path} has changed while it was packed: run it again'
                    ) from None
                raise
            for name, content in clip.members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _index_entries(packs: Sequence[Sequence[_Clip]]) -> Iterator[ShardEntry]:
    for number, pack in enumerate(packs):
        offset = 0
        for clip in pack:
            start = offset + _BLOCK if clip.size else 0
            yield ShardEntry(clip.name, clip.labels, number, start, clip.size)
            offset += clip.space if clip.size else 0


def merge_packed(out: str | Path, labels: Sequence[str]) -> str:
    """Make one index of those of all shares.

    Args:
        out: The folder of the shards.
        labels: The labels of the shares, in their order, none missing.

    Returns:
        What to print.

    Raises:
        ValueError: The shares do not add up to the list.
    """
    settings = json.loads(read_bytes(os.path.join(out, SETTINGS), fresh=True))
    parts = [ShardIndex(os.path.join(out, f'index-{label}.npz')) for label in labels]
    total = sum(len(part) for part in parts)
    if total != settings['clips']:
        raise ValueError(
            f'{out}: the shares hold {total} clips, the list has {settings["clips"]}: pack them '
            'from the same list'
        )
    shards = [os.path.basename(shard) for part in parts for shard in part.shards]

    def entries() -> Iterator[ShardEntry]:
        first = 0
        for part in parts:
            for position in range(len(part)):
                entry = part[position]
                yield entry._replace(shard=entry.shard + first)
            first += len(part.shards)

    sizes = [size for part in parts for size in part.shard_sizes]
    write_index(os.path.join(out, INDEX_NAME), shards, entries(), sizes)
    return f'{out}: {how_many(total, "clip")} in {how_many(len(shards), "shard")}'
