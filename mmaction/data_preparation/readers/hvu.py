"""HVU: HVU_{Train,Val}_V1.0.csv and HVU_Tags_Categories_V1.0.csv."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import (
    MMACTION2,
    Annotation,
    Reader,
    Row,
    csv_rows,
    find_annotation,
    text_rows,
    try_annotation,
)
from mmaction.datasets.hvu_dataset import CATEGORIES

__all__ = ['clip_names', 'read', 'read_categories']


def read_categories(path: Path) -> dict[str, list[str]]:
    """The sorted tags of each category; lines are `boxing,action`, maybe after a header.

    Raises:
        ValueError: A line names no category.
    """
    tags: dict[str, set[str]] = {category: set() for category in CATEGORIES}
    for number, (place, line) in enumerate(text_rows(path)):
        tag, _, category = (part.strip().strip('"') for part in line.rpartition(','))
        if category.lower() in tags and tag:
            tags[category.lower()].add(tag)
        elif number:
            raise ValueError(
                f"{place}: expected 'tag,category' with one of {', '.join(CATEGORIES)}, "
                f'found {line!r}'
            )
    return {category: sorted(names) for category, names in tags.items()}


def clip_names(identifier: str, start: float, end: float) -> tuple[str, ...]:
    """How mmaction2, the official downloader and others call a clip.

    mmaction2 counts in tenths of a second. The downloader counts in seconds, so that two
    clips may have one name, and leaves a `_` at the end.
    """
    tenths = f'{identifier}_{int(10 * start):06}_{int(10 * end):06}'
    seconds = f'{identifier}_{int(start):06}_{int(end):06}'
    return (tenths, seconds, f'{seconds}_', f'{identifier}_{start}_{end}')


def read(folder: Path, class_order: str) -> Annotation:
    """Read train and val; labels are counted within their category.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A row is malformed or has a tag of no category.
    """
    path = find_annotation(folder, 'hvu_tags_categories*.csv')
    categories = read_categories(path)
    places: dict[str, list[tuple[str, int]]] = {}
    for category, names in categories.items():
        for label, tag in enumerate(names):
            places.setdefault(tag, []).append((category, label))
    lists = {}
    for split in ('train', 'val'):
        find = find_annotation if split == 'train' else try_annotation
        found = find(folder, f'hvu_{split}*.csv')
        if found is None:
            continue
        rows = []
        for place, row in csv_rows(found, ('Tags', 'youtube_id', 'time_start', 'time_end')):
            labels: dict[str, list[int]] = {}
            for tag in filter(None, map(str.strip, row['Tags'].split('|'))):
                if tag not in places:
                    raise ValueError(f'{place}: {path} has no tag {tag!r}')
                for category, label in places[tag]:
                    labels.setdefault(category, []).append(label)
            try:
                start, end = float(row['time_start']), float(row['time_end'])
            except ValueError:
                raise ValueError(f'{place}: expected times in seconds, found {row}') from None
            ordered = {c: sorted(set(labels[c])) for c in CATEGORIES if c in labels}
            clips = clip_names(row['youtube_id'], start, end)
            without = '' if ordered else 'it has no tag'
            rows.append(Row(place, clips, ordered, split, left_out=without))
        lists[split] = rows
    classes = [tag for names in categories.values() for tag in names]
    order = f'mmaction2: {", ".join(CATEGORIES)}, each sorted by name'
    return Annotation(classes, lists, order, categories=categories)


READERS = {
    'hvu': Reader(
        title='HVU',
        read=read,
        num_classes=3142,
        official={'val': 31171},
        orders=(MMACTION2,),
        one_naming=True,
    )
}
