"""Formats that several datasets share."""

from __future__ import annotations

import csv
from pathlib import Path

from mmaction.utils.plurals import how_many

from .parsing import ClassIndex, find_annotation, text_rows, try_annotation
from .schema import Annotation, Row, strip_extension

__all__ = ['read_moments', 'read_numbered']


def read_numbered(folder: Path, prefix: str) -> Annotation:
    """The format of Jester and Something-Something V1, whose clips are numbers.

    `PREFIX-labels.csv` has a class on each line, `-train.csv` and `-validation.csv` lines
    `40321;Name of the class`, `-test.csv` the numbers alone. None of them quotes, and
    names hold commas.

    Args:
        folder: Folder of the annotation.
        prefix: What the names of the files start with.

    Raises:
        FileNotFoundError: A file is missing (that of the test may be).
        ValueError: A line is malformed.
    """
    path = find_annotation(folder, f'{prefix}-labels.csv')
    classes = ClassIndex((line for _, line in text_rows(path)), path)
    lists = {}
    for split, name in (('train', 'train'), ('val', 'validation'), ('test', 'test')):
        find = try_annotation if split == 'test' else find_annotation
        file = find(folder, f'{prefix}-{name}.csv')
        if file is None:
            continue
        rows = []
        for place, line in text_rows(file):
            clip, found, label = (part.strip() for part in line.partition(';'))
            if not clip.isdigit() or not (found or split == 'test'):
                raise ValueError(f"{place}: expected '40321;Name of the class', found {line!r}")
            rows.append(Row(place, (clip,), classes.label(label, place) if label else None, split))
        lists[split] = rows
    return Annotation(classes.names, lists, 'mmaction2: that of the file of labels')


def read_moments(folder: Path, several: bool) -> Annotation:
    """The format of Moments in Time: `{training,validation}Set.csv` and the categories.

    Rows are `yawning/clip.mp4,yawning,3,0` (votes follow the class); as in mmaction2 the
    folder tells the class. With several labels they are `yawning/clip.mp4,12,45,301`.

    Args:
        folder: Folder of the annotation.
        several: Clips have several labels.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A row is malformed.
    """
    path = find_annotation(folder, '*categories*.txt')
    names: list[str] = []
    for place, line in text_rows(path):
        name, _, number = line.rpartition(',')
        if number.strip() != str(len(names)) or not name:
            raise ValueError(f"{place}: expected 'name,{len(names)}', found {line!r}")
        names.append(name.strip())
    classes = ClassIndex(names, path)
    lists, others = {}, 0
    for split, name in (('train', 'trainingset'), ('val', 'validationset')):
        path = find_annotation(folder, f'{name}.csv', f'{name}.txt')
        rows = []
        for place, line in text_rows(path):
            file, *fields = (field.strip() for field in next(csv.reader([line])))
            name, slash, _ = file.rpartition('/')
            if not slash or not fields:
                labels = '12,45' if several else 'yawning,3,0'
                raise ValueError(f"{place}: expected 'yawning/clip.mp4,{labels}', found {line!r}")
            stem = strip_extension(file)
            if several:
                numbers = {classes.check(field, place) for field in fields}
                rows.append(Row(place, (stem,), tuple(sorted(numbers)), split))
            else:
                name = name.rpartition('/')[2]
                others += fields[0] != name
                rows.append(Row(place, (stem,), classes.label(name, place), split))
        lists[split] = rows
    notes = []
    if others:
        count = how_many(others, 'row')
        notes.append(f'{count} of another class than their folder, which was taken')
    return Annotation(classes.names, lists, f'mmaction2: {classes.source.name}', notes)
