"""Kinetics-400, -600, -700 and -700-2020: train.csv, validate.csv, test.csv."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmaction.data_preparation import (
    Annotation,
    ClassIndex,
    Reader,
    Row,
    csv_rows,
    find_annotation,
    text_rows,
    try_annotation,
)

__all__ = ['find_list', 'read', 'read_entries']

_COLUMNS = ('youtube_id', 'time_start', 'time_end')
_NAMES = {'train': ('train',), 'val': ('validate', 'val', 'validation'), 'test': ('test',)}
Entry = tuple[str, str, str, tuple[int, int]]


def find_list(folder: Path, edition: str, split: str) -> Path | None:
    """The published file of a split, under any of the names that it has had.

    Of Kinetics-600, CVDF publishes .txt as well and calls its .csv incomplete.
    """
    numbers = (edition.replace('_', '-'), edition, edition.split('_')[0])
    before = ['', 'kinetics_', *(f'kinetics{sep}{n}_' for n in numbers for sep in ('', '-', '_'))]
    stems = [start + name for name in _NAMES[split] for start in dict.fromkeys(before)]
    if edition == '600':
        path = try_annotation(folder, *(f'{stem}.txt' for stem in stems))
        # Our own lists have such names too.
        if path is not None and 'youtube_id' in next(text_rows(path), ('', ''))[1]:
            return path
    return try_annotation(folder, *(f'{stem}.csv' for stem in stems))


def read_entries(path: Path) -> Iterator[Entry]:
    """Place, label ('' if the file has none), YouTube id, start and end in whole seconds.

    Raises:
        ValueError: A row is malformed.
    """
    for place, row in csv_rows(path, _COLUMNS, optional=('label',)):
        try:
            times = int(float(row['time_start'])), int(float(row['time_end']))
        except ValueError:
            raise ValueError(
                f'{place}: expected time_start and time_end in seconds, found {row}'
            ) from None
        yield place, row['label'].strip('"').strip(), row['youtube_id'].strip('"'), times


def read(folder: Path, class_order: str, edition: str) -> Annotation:
    """Read what there is of train, val and test; a test list may have no labels.

    Classes are the sorted labels of the training list, or, without it, of the others.

    Raises:
        FileNotFoundError: There is neither a list to train nor one to validate.
        ValueError: A row is malformed, or a label is not in the training list.
    """
    paths: dict[str, Path] = {}
    for split in _NAMES:
        path = find_list(folder, edition, split)
        if path is not None:
            paths[split] = path
    if not paths.keys() & {'train', 'val'}:
        find_annotation(folder, 'train.csv', 'validate.csv')
    entries = {split: list(read_entries(path)) for split, path in paths.items()}
    source = next(iter(paths))
    classes = ClassIndex(sorted({e[1] for e in entries[source] if e[1]}), paths[source])
    # A clip that has two rows is one clip.
    parts = {entry[2:] for part in entries.values() for entry in part}
    clips = Counter(identifier for identifier, _ in parts)
    lists = {}
    for split, part in entries.items():
        lists[split] = [
            Row(
                place=place,
                names=_clip_names(label, identifier, times, alone=clips[identifier] == 1),
                label=classes.label(label, place) if label else None,
                split=split,
            )
            for place, label, identifier, times in part
        ]
    notes = [f'read: {", ".join(str(path) for path in paths.values())}']
    if source != 'train':
        notes.append(f'there is no training list: the classes are those of {paths[source]}')
    order = 'mmaction2: sorted names (the same everywhere)'
    return Annotation(classes.names, lists, order, notes)


def _clip_names(
    label: str, identifier: str, times: tuple[int, int], alone: bool
) -> tuple[str, ...]:
    clip = f'{identifier}_{times[0]:06}_{times[1]:06}'
    folders = dict.fromkeys((label.replace(' ', '_'), label)) if label else ()
    names = [f'{folder}/{clip}' for folder in folders] + [clip]
    # Copies of Kinetics-400 without the times in the name; of two clips of one
    # video they would not tell which it is.
    return (*names, identifier) if alone else tuple(names)


def _reader(edition: str, title: str, num_classes: int, **official: int) -> Reader:
    return Reader(title, functools.partial(read, edition=edition), num_classes, official)


READERS = {
    'kinetics400': _reader('400', 'Kinetics-400', 400, train=246534, val=19906, test=39805),
    'kinetics600': _reader('600', 'Kinetics-600', 600, val=30000, test=72924),
    'kinetics700': _reader('700', 'Kinetics-700', 700),
    'kinetics700_2020': _reader(
        '700_2020', 'Kinetics-700-2020', 700, train=542352, val=34125, test=67433
    ),
}
