"""OmniSource, Mini-Kinetics: clips of 200 classes, and images and videos of the web."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmaction.data_preparation import (
    Annotation,
    ClassIndex,
    Reader,
    Row,
    find_annotation,
    load_json,
    strip_extension,
    text_rows,
    try_annotation,
)

__all__ = ['read', 'read_lines', 'read_pieces']


def read_lines(path: Path, classes: ClassIndex) -> Iterator[tuple[str, str, int]]:
    """Place, path without extension and label of lines `path label`.

    Raises:
        ValueError: A line is malformed.
    """
    for place, line in text_rows(path):
        clip, _, label = line.rpartition(' ')
        if not clip.strip():
            raise ValueError(f"{place}: expected 'path label', found {line!r}")
        yield place, strip_extension(clip.strip()), classes.check(label, place)


def read_pieces(path: Path, classes: ClassIndex) -> Iterator[Row]:
    """The pieces of ten seconds of whole videos of Kinetics that show their class.

    Raises:
        ValueError: An entry is malformed.
    """
    for number, entry in enumerate(load_json(path, list)):
        place = f'{path}: entry {number}'
        pieces = _pieces(entry)
        if pieces is None:
            raise ValueError(
                f"{place}: expected 'video_dir', 'label' and 'positive_clip_inds', found {entry!r}"
            )
        for piece in pieces:
            name = f'{entry["video_dir"].strip("/")}/part_{piece}'
            yield Row(place, (name,), classes.check(str(_label(entry)), place))


def _label(entry: dict[str, Any]) -> Any:
    label = entry.get('label')
    return label[0] if isinstance(label, list) and len(label) == 1 else label


def _pieces(entry: object) -> list[int] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get('video_dir'), str):
        return None
    pieces = entry.get('positive_clip_inds')
    is_list = isinstance(pieces, list) and all(type(piece) is int for piece in pieces)
    return pieces if is_list and type(_label(entry)) is int else None


def read(folder: Path, class_order: str) -> Annotation:
    """Read Mini-Kinetics (train, val) and what there is of the web: images, videos, pieces.

    The web lists are those without near-duplicates of the clips to validate on (`_wodup`).

    Raises:
        FileNotFoundError: A file of Mini-Kinetics is missing.
        ValueError: A line is malformed.
    """
    path = find_annotation(folder, 'k200_actions.txt')
    classes = ClassIndex((line for _, line in text_rows(path)), path)
    lists, notes = {}, []
    for split in ('train', 'val'):
        path = find_annotation(folder, f'k200_{split}.txt')
        lists[split] = [
            Row(place, (f'kinetics_200_{split}/{name}', name), label, split)
            for place, name, label in read_lines(path, classes)
        ]
    for name, image, *patterns in (
        ('web_image', True, '*webimage_200_wodup.txt', '*webimage_200.txt'),
        ('web_video', False, '*insvideo_200_wodup.txt', '*insvideo_200.txt'),
    ):
        found = try_annotation(folder, *patterns)
        if found is None:
            notes.append(f'no {name}: there is no {patterns[0]}')
            continue
        lists[name] = [
            Row(place, (clip,), label, image=image)
            for place, clip, label in read_lines(found, classes)
        ]
        if not found.stem.endswith('_wodup'):
            notes.append(f'{found} may hold near-duplicates of val: {patterns[0]} does not')
    found = try_annotation(folder, '*kinetics_raw_200.json')
    if found is None:
        notes.append('no kinetics_raw: there is no *kinetics_raw_200.json')
    else:
        lists['kinetics_raw'] = list(read_pieces(found, classes))
    return Annotation(classes.names, lists, 'mmaction2: k200_actions.txt', notes)


READERS = {
    'omnisource': Reader(
        title='OmniSource, Mini-Kinetics',
        read=read,
        num_classes=200,
        official={'train': 76030, 'val': 4838},
    )
}
