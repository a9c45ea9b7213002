"""Clips on the disk: going through folders, and finding the clip that a row means."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmaction.datasets.numbered_frames import FrameFolder, numbered_frames
from mmaction.utils.io import JsonLines

from .jobs import check_folder
from .schema import strip_extension

__all__ = [
    'AmbiguousClipError',
    'MediaIndex',
    'scan_frames',
    'usual_frames',
]

# Folders of a split: train, videos_train, training, valid_files, val_256, ...
_SPLITS = {
    split: re.compile(rf'(.*[_-])?({words})([_-].*)?')
    for split, words in (
        ('train', 'train|training'),
        ('val', 'val|valid|validate|validation'),
        ('test', 'test|testing'),
    )
}


class AmbiguousClipError(LookupError):
    """Several clips could be meant."""


def _frames(names: Iterable[str]) -> FrameFolder | None:
    """Frames as a list means them: counted from 0 or 1."""
    found = numbered_frames(names)
    if found is None or found.fault or found.first <= 1:
        return found
    return found._replace(fault=f'the first frame is {found.template.format(found.first)!r}')


def scan_frames(folder: Path, journal: Path) -> dict[str, FrameFolder]:
    """Folders of frames under a folder, with a progress bar.

    A folder that has not changed since it stands in the journal is not listed again.

    Args:
        folder: Where to look.
        journal: File that keeps what was found; what an interrupted run left counts.

    Returns:
        The frames of each folder, whose path is relative to `folder`.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    from tqdm import tqdm

    known: dict[str, tuple[int, FrameFolder | None, list[str]]] = {}
    if journal.exists():
        for line in journal.read_text(encoding='utf-8').splitlines():
            try:
                path, stamp, frames, folders = json.loads(line)
                known[path] = (stamp, None if frames is None else FrameFolder(*frames), folders)
            except (ValueError, TypeError):
                continue
    check_folder(folder)
    found: dict[str, FrameFolder] = {}
    seen: set[tuple[int, int]] = set()
    left = ['']
    with (
        JsonLines(journal) as notes,
        tqdm(desc='look for frames', unit='folder', mininterval=0.5) as bar,
    ):
        while left:
            path = left.pop()
            place = folder / path
            status = place.stat()
            # Links may lead in a circle.
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            stamp = status.st_mtime_ns
            if path in known and known[path][0] == stamp:
                _, frames, folders = known[path]
            else:
                names, folders = _list_folder(place)
                frames = _frames(names)
                notes.add([path, stamp, frames, folders])
            left += [f'{path}/{name}' if path else name for name in reversed(folders)]
            if frames is not None and path:
                found[path] = frames
                bar.update()
    return found


def _list_folder(folder: Path) -> tuple[list[str], list[str]]:
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith('.'):
                (folders if entry.is_dir() else names).append(entry.name)
    return names, sorted(folders)


def usual_frames(frames: dict[str, FrameFolder]) -> tuple[FrameFolder | None, dict[str, str]]:
    """The usual names of frames, and what is wrong with folders that have others.

    Returns:
        Frames of a usual folder (None without any), and the fault of each other folder.
    """
    kinds = Counter((f.first, f.template) for f in frames.values() if not f.fault)
    faults = {path: f.fault for path, f in frames.items() if f.fault}
    if not kinds:
        return None, faults
    (first, template), _ = kinds.most_common(1)[0]
    usual = template.format(first)
    for path, one in frames.items():
        if not one.fault and (one.first, one.template) != (first, template):
            its = one.template.format(one.first)
            faults[path] = f'its first frame is {its!r}, that of most clips {usual!r}'
    return FrameFolder(0, first, template), faults


class MediaIndex:
    """Finds clips by the end of their path.

    Args:
        paths: Paths of clips, with '/' between their parts.
        extensions: What to leave out at their end; nothing for folders.
        fold_case: Take a clip whose name differs in capitals if there is just one.
    """

    def __init__(
        self, paths: Sequence[str], extensions: tuple[str, ...], fold_case: bool = False
    ) -> None:
        self.paths = paths
        self._extensions = extensions
        self._fold_case = fold_case
        self._replacements = {
            strip_extension(path.rpartition('/')[2], extensions): path
            for path in paths
            if path.lower().startswith('replacement') or '/replacement' in path.lower()
        }
        # By number of parts and whether capitals count: the paths of each end.
        self._ends: dict[tuple[int, bool], dict[str, str | list[str]]] = {}

    def with_paths(self, paths: Sequence[str]) -> MediaIndex:
        """An index like this one of other paths."""
        return MediaIndex(paths, self._extensions, self._fold_case)

    def _table(self, depth: int, fold: bool) -> dict[str, str | list[str]]:
        table = self._ends.get((depth, fold))
        if table is None:
            table = self._ends[depth, fold] = {}
            for path in self.paths:
                parts = path.split('/')
                if len(parts) < depth:
                    continue
                end = '/'.join(parts[-depth:])
                if self._extensions:
                    end = strip_extension(end, self._extensions)
                end = end.casefold() if fold else end
                old = table.setdefault(end, path)
                if isinstance(old, list):
                    old.append(path)
                elif old is not path:
                    table[end] = [old, path]
        return table

    def find(self, name: str, split: str = '') -> str | None:
        """The path that ends with a name (without extension), or None.

        A clip in a folder called `replacement...`, as Kinetics publishes one, comes before
        any other; of several clips, the one in a folder called as the split is taken.

        Raises:
            AmbiguousClipError: Several are left.
        """
        replacement = self._replacements.get(name.rpartition('/')[2])
        if replacement is not None:
            return replacement
        depth = name.count('/') + 1
        found = self._table(depth, False).get(name)
        if found is None and self._fold_case:
            found = self._table(depth, True).get(name.casefold())
        if found is None or isinstance(found, str):
            return found
        scores = [_in_split(path, split) for path in found]
        found = [path for path, one in zip(found, scores, strict=True) if one == max(scores)]
        if len(found) == 1:
            return found[0]
        shown = ', '.join(map(repr, found[:3]))
        raise AmbiguousClipError(f'{len(found)} clips could be meant: {shown}')


def _in_split(path: str, split: str) -> int:
    """How many folders of a path are called as a split; a class may be called so as well."""
    pattern = _SPLITS.get(split)
    return sum(bool(pattern and pattern.fullmatch(p.lower())) for p in path.split('/')[:-1])
