"""The lists of a dataset of one's own: its clips found, divided by group, and written."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmaction.datasets.annotations import ListFormat
from mmaction.datasets.numbered_frames import numbered_frames
from mmaction.utils.class_names import read_class_names
from mmaction.utils.cli import brief, one_line, some
from mmaction.utils.file_types import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from mmaction.utils.io import write_lines
from mmaction.utils.plurals import how_many

from .jobs import find_files, note_left_out
from .write_lists import check_list

__all__ = [
    'Clip',
    'build_lists',
    'check_paths',
    'class_names',
    'count_table',
    'from_csv',
    'from_folders',
    'regroup',
    'split_by_group',
    'write_lists',
]

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Clip:
    """One clip of the dataset.

    Args:
        path: Relative to the folder.
        label: Name of the class.
        group: Clips that belong together have the same one.
        split: 'train', 'val' or 'test' if that is given, else ''.
        place: Where it was found, for messages.
        frames: Number of frames if the clip is a folder of images.
    """

    path: str
    label: str
    group: str
    split: str = ''
    place: str = ''
    frames: int | None = None


def find_clips(folder: Path, rawframes: bool) -> dict[str, int | None]:
    """Clips under a folder and the number of their frames (None for videos).

    Raises:
        ValueError: A folder of frames has gaps, or images of other names.
    """
    wanted = IMAGE_EXTENSIONS if rawframes else VIDEO_EXTENSIONS
    found, others = find_files(folder, wanted)
    note_left_out(others)
    if not rawframes:
        return dict.fromkeys(found)
    names: dict[str, list[str]] = defaultdict(list)
    for path in found:
        names[Path(path).parent.as_posix()].append(Path(path).name)
    clips: dict[str, int | None] = {}
    for path, images in names.items():
        frames = numbered_frames(images)
        if frames is not None and frames.fault:
            raise ValueError(f'{str(folder / path)!r}: {frames.fault}')
        if frames is not None:
            clips[path] = frames.total
    return clips


def from_folders(folder: Path, rawframes: bool, splits: bool) -> list[Clip]:
    """The clips of a tree in which folders are classes.

    Raises:
        ValueError: A clip lies outside of the folders of the classes.
    """
    clips = []
    found = find_clips(folder, rawframes)
    form = f'{"SPLIT/" if splits else ""}CLASS/CLIP'
    outside = [path for path in found if len(Path(path).parts) < form.count('/') + 1]
    if outside:
        raise ValueError(_outside_of_classes(folder, outside, form, alone=outside == [*found]))
    for path, frames in found.items():
        parts = Path(path).parts
        split = parts[0] if splits else ''
        if split and split not in SPLITS:
            raise ValueError(f'{str(folder / split)!r}: expected folders train, val (and test)')
        clips.append(Clip(path, parts[1 if splits else 0], path, split, path, frames))
    if splits:
        return clips
    classes = {clip.label for clip in clips}
    folders = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != '.'}
    if folders - classes:
        names = ', '.join(map(brief, sorted(folders - classes)))
        print(f'warning: without clips, so no class: {names}', file=sys.stderr)
    if classes in ({'train', 'val'}, set(SPLITS)):
        raise ValueError(
            f'the folders in {str(folder)!r} are called train and val: if they hold the folders '
            'of the classes, add --split-folders'
        )
    return clips


def from_csv(file: Path, folder: Path, rawframes: bool) -> list[Clip]:
    """The clips of a CSV file with a header.

    Raises:
        ValueError: A column is missing, a field empty, a split unknown, a clip named twice.
        FileNotFoundError: A clip is not there.
    """
    clips: list[Clip] = []
    places: dict[str, str] = {}
    counts = find_clips(folder, rawframes) if rawframes else {}
    with file.open(encoding='utf-8-sig', errors='surrogateescape', newline='') as text:
        separator = '\t' if file.suffix.lower() == '.tsv' else ','
        reader = csv.DictReader(text, delimiter=separator)
        reader.fieldnames = _columns(reader.fieldnames or (), file, folder, separator)
        for row in reader:
            place = f'{file}:{reader.line_num}'
            path, label = (row['path'] or '').strip(), (row['label'] or '').strip()
            if not path or not label or None in row:
                raise ValueError(
                    f'{place}: expected {reader.fieldnames}, found {list(row.values())}'
                )
            if path in places:
                raise ValueError(f'{place}: {path!r} was named in {places[path]} already')
            places[path] = place
            if not (folder / path).exists() or (rawframes and path not in counts):
                raise FileNotFoundError(f'{place}: there is no clip {str(folder / path)!r}')
            split = (row.get('split') or '').strip()
            if 'split' in row and split not in SPLITS:
                raise ValueError(f'{place}: split must be train, val or test, found {split!r}')
            group = (row.get('group') or '').strip() or path
            clips.append(Clip(path, label, group, split, place, counts.get(path)))
    return clips


def _outside_of_classes(folder: Path, paths: Sequence[str], form: str, *, alone: bool) -> str:
    """The message for clips beside the folders of the classes, or, `alone`, without any."""
    several = len(paths) > 1
    lies = f'{some([*map(brief, paths)], 3)} {"lie" if several else "lies"}'
    message = f'{str(folder)!r}: {lies} in no folder of a class; expected {folder}/{form}. '
    if alone:
        return (
            f'{message}If {folder.resolve().name!r} is one class, give the folder above it, which '
            f'holds the folders of all classes: {str(folder.resolve().parent)!r}; or give a table '
            'of paths and labels'
        )
    return (
        f'{message}Move {"them" if several else "it"} there or out of {str(folder)!r}, or give a '
        'table of paths and labels'
    )


_SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs'}


def _columns(header: Sequence[str], file: Path, folder: Path, separator: str) -> list[str]:
    """The columns that a header names; 'Path' is 'path', unless there are both.

    Raises:
        ValueError: 'path' or 'label' is not among them.
    """
    small = [name.strip().lower() for name in header]
    known = ('path', 'label', 'group', 'split')
    names = [
        low if low in known and small.count(low) == 1 else name
        for low, name in zip(small, header, strict=True)
    ]
    if not {'path', 'label'} <= set(names):
        other = next((mark for mark in _SEPARATORS if mark in header[0]), None) if header else None
        found = f'found {separator.join(header)!r}'
        if other is not None:
            found += f', with {_SEPARATORS[other]} between the columns'
        elif header and any(os.path.isfile(folder / name.strip()) for name in header):
            found += f', which is a clip: add the line "path{separator}label" above it'
        elif header:
            found += ': rename these columns'
        raise ValueError(
            f'{file}:1: expected a header with the columns path,label and maybe group,split, with '
            f'{_SEPARATORS[separator]} between them ({file.suffix}); {found}'
        )
    return names


def regroup(clips: Sequence[Clip], pattern: str) -> list[Clip]:
    """The clips with the group that a regular expression finds in their paths.

    Raises:
        ValueError: The expression is not valid or finds nothing in a path.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ValueError(f'--group {pattern!r} is no regular expression: {error}') from None
    result = []
    for clip in clips:
        match = regex.search(clip.path)
        if match is None:
            raise ValueError(f'--group {pattern!r} finds nothing in {clip.path!r}')
        group = match[1] if regex.groups else match[0]
        result.append(replace(clip, group=group or ''))
    return result


def split_by_group(clips: Sequence[Clip], part: float, seed: int) -> dict[str, list[Clip]]:
    """Divide clips so that each class has about `part` of its clips in validation.

    Groups stay whole, also those of several classes. A class of two groups or
    more has clips on both sides, unless its groups are tied up with others.
    The outcome depends on the seed and the names alone, not on their order.

    Args:
        clips: The clips.
        part: Of 1, what goes to validation.
        seed: Chooses among equal groups.

    Returns:
        The clips of 'train' and of 'val'.
    """
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.group].append(clip)
    sizes = {name: Counter(clip.label for clip in members) for name, members in groups.items()}
    total = Counter(clip.label for clip in clips)
    owners = Counter(label for size in sizes.values() for label in size)
    want = {
        label: max(1, round(part * count)) if part and owners[label] > 1 else 0
        for label, count in total.items()
    }
    chosen: Counter[str] = Counter()
    val: set[str] = set()

    def leaves_some(name: str) -> bool:
        return all(chosen[label] + n < total[label] for label, n in sizes[name].items())

    def take(name: str) -> None:
        val.add(name)
        chosen.update(sizes[name])

    def rank(name: str) -> str:
        return hashlib.sha256(f'{seed}:{name}'.encode('utf-8', 'surrogateescape')).hexdigest()

    # Large groups first: small ones then fill up what is left.
    for name in sorted(groups, key=lambda name: (-len(groups[name]), rank(name))):
        gain = sum(
            abs(want[label] - chosen[label]) - abs(want[label] - chosen[label] - n)
            for label, n in sizes[name].items()
        )
        if gain > 0 and leaves_some(name):
            take(name)
    for label in sorted(label for label in total if want[label] and not chosen[label]):
        mine = [name for name in groups if sizes[name][label] and leaves_some(name)]
        if mine:
            take(min(mine, key=lambda name: (len(groups[name]), rank(name))))
    split: dict[str, list[Clip]] = {'train': [], 'val': []}
    for clip in clips:
        split['val' if clip.group in val else 'train'].append(clip)
    return split


def class_names(clips: Sequence[Clip], file: Path | None) -> list[str]:
    """Names of the classes in the order of their labels; numbers are sorted as such.

    Raises:
        ValueError: A clip has a class that `file` lacks, or several, or `file` has one twice.
    """
    found = {clip.label for clip in clips}
    parts = {name: {*map(str.strip, re.split('[;|]', name))} - {''} for name in found}
    uses = Counter(part for several in parts.values() for part in several)
    for clip in clips:
        several = parts[clip.label]
        if len(several) > 1 and any(uses[part] > 1 for part in several):
            raise ValueError(
                f'{clip.place}: {clip.label!r} looks like several labels, and a clip has one here '
                '(docs/training.md, "Multi-label training", trains on several): rename it if it '
                'is one class'
            )
    if file is None:
        numbers = all(re.fullmatch('[0-9]+', name) for name in found)
        names = sorted(found, key=(lambda name: (int(name), name)) if numbers else None)
    else:
        names = read_class_names(file)
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(f'{file}: {twice!r} is there twice')
    for clip in clips:
        if clip.label not in names:
            raise ValueError(f'{clip.place}: {file} has no class {clip.label!r}')
        if one_line(clip.label) != clip.label:
            raise ValueError(f'the name of class {clip.label!r} does not fit on a line: rename it')
    return names


def check_paths(clips: Sequence[Clip], folder: Path) -> None:
    """See that the paths of clips can stand in a list, by one that is tried in a folder.

    Raises:
        ValueError: A path cannot stand in a list.
    """
    paths = [clip.path for clip in clips]
    form = ListFormat('path', num_classes=1)
    check_list(folder / 'clips.txt', [f'{path} 0' for path in paths], form, paths)


def write_lists(
    out: Path, splits: dict[str, list[Clip]], names: list[str], overwrite: bool
) -> None:
    """Write the lists and read them back.

    Raises:
        FileExistsError: A list that says something else is there already.
        ValueError: A path cannot stand in a list.
    """
    texts = {'classes.txt': names}
    for split, clips in splits.items():
        fields = (
            (clip.path, *([] if clip.frames is None else [clip.frames]), names.index(clip.label))
            for clip in clips
        )
        texts[f'{split}.txt'] = [' '.join(map(str, field)) for field in fields]
    for name, lines in texts.items():
        old = out / name
        text = ''.join(f'{line}\n' for line in lines)
        if (
            old.exists()
            and not overwrite
            and old.read_bytes() != text.encode('utf-8', 'surrogateescape')
        ):
            raise FileExistsError(f'{old} exists and lists other clips or labels: add --overwrite')
    for split, clips in splits.items():
        counts = {} if clips[0].frames is None else {'total_frames': 1}
        form = ListFormat('path', counts, num_classes=len(names))
        lines = texts[f'{split}.txt']
        check_list(out / f'{split}.txt', lines, form, [clip.path for clip in clips])
    for name, lines in texts.items():
        write_lines(out / name, lines)


def count_table(splits: Mapping[str, Sequence[Clip]], names: Sequence[str]) -> str:
    """How many clips of each class each split has, a class a line."""
    counts = {name: Counter(clip.label for clip in members) for name, members in splits.items()}
    width = max(len(name) for name in names)
    return '\n'.join(
        f'{label:>5}  {name:<{width}}  '
        + '  '.join(f'{counts[split][name]:>6} {split}' for split in splits)
        for label, name in enumerate(names)
    )


def build_lists(
    folder: Path,
    out: Path,
    *,
    table: Path | None = None,
    rawframes: bool = False,
    split_folders: bool = False,
    val: float = 0.2,
    group: str | None = None,
    seed: int = 0,
    classes: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Find the clips, divide them, write the lists, print what is in them.

    Args:
        folder: Folder of the clips.
        out: Folder to write to.
        table: Table of the clips and their classes; by default folders are classes.
        rawframes: Clips are folders of images.
        split_folders: The folders of the classes are in folders train, val and test.
        val: Part to validate on.
        group: Regular expression that finds the group of a clip in its path.
        seed: Another seed, another split.
        classes: File of class names in the order of their labels.
        overwrite: Replace lists that say something else.

    Raises:
        ValueError: There are no clips, or they or their classes are not as described.
        FileExistsError: Lists that say something else are there.
    """
    if table:
        clips = from_csv(table, folder, rawframes)
    else:
        clips = from_folders(folder, rawframes, split_folders)
    if not clips:
        kind = 'folders of images' if rawframes else 'videos'
        raise ValueError(f'there are no {kind} in {str(table or folder)!r}')
    names = class_names(clips, classes)
    if clips[0].split:
        if group:
            raise ValueError('--group divides clips, but their split is given already')
        splits = {s: [clip for clip in clips if clip.split == s] for s in SPLITS}
    else:
        splits = split_by_group(regroup(clips, group) if group else clips, val, seed)
    splits = {name: members for name, members in splits.items() if members}
    write_lists(out, splits, names, overwrite)
    print(count_table(splits, names))
    counts = {name: Counter(clip.label for clip in members) for name, members in splits.items()}
    total = ', '.join(f'{len(members)} {name}' for name, members in splits.items())
    print(f'{out}: {how_many(len(names), "class", "classes")}; {total}')
    for split in ('train', 'val'):
        empty = [name for name in names if not counts.get(split, Counter())[name]]
        if empty and (split == 'train' or clips[0].split or val):
            print(f'warning: no clip in {split} of: {", ".join(empty)}', file=sys.stderr)
