"""ActivityNet 1.3: activity_net.v1-3.min.json, segments of whole videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmaction.data_preparation import (
    MMACTION2,
    SORTED,
    Annotation,
    ClassIndex,
    Reader,
    Row,
    find_annotation,
    load_json,
    text_rows,
    try_annotation,
)

__all__ = ['read', 'read_classes']

_SUBSETS = {'training': 'train', 'validation': 'val', 'testing': 'test'}


def read_classes(folder: Path, class_order: str, found: set[str], source: Path) -> ClassIndex:
    """The classes: those of mmaction2's action_name.csv (or label_map.txt), or sorted.

    Raises:
        FileNotFoundError: There is no such file, whose order is not alphabetical.
    """
    path = try_annotation(folder, 'action_name.csv', 'label_map.txt', 'label_map_*.txt')
    if path is not None:
        names = [line.strip('"') for _, line in text_rows(path)]
        if path.suffix == '.csv' and names[:1] == ['action']:
            names = names[1:]
        return ClassIndex(names, path)
    if class_order == SORTED:
        return ClassIndex(sorted(found), source)
    raise FileNotFoundError(
        f'the order of the classes in mmaction2 is that of its action_name.csv (or label_map.txt), '
        f'which is not in {str(folder)!r}: put it there, or take --class-order {SORTED}'
    )


def _segments(video: dict[str, Any], place: str) -> list[Any]:
    """The annotations of a video, of which the ones to test on have none."""
    found = video.get('annotations') or []
    duration = video.get('duration')
    if not isinstance(found, list) or (
        found and not (isinstance(duration, (int, float)) and duration > 0)
    ):
        raise ValueError(
            f'{place}: expected a list of annotations and a duration in seconds, found '
            f'{video.get("annotations")!r} and {duration!r}'
        )
    return found


def _segment(found: Any, place: str) -> tuple[float, float]:
    segment = found.get('segment') if isinstance(found, dict) else None
    if not (
        isinstance(segment, list)
        and len(segment) == 2
        and all(isinstance(second, (int, float)) for second in segment)
        and isinstance(found.get('label'), str)
    ):
        raise ValueError(f'{place}: expected a segment [start, end] and a label, found {found!r}')
    return float(segment[0]), float(segment[1])


def read(folder: Path, class_order: str) -> Annotation:
    """Read segments (train, val) and whole videos (train_whole, val_whole, test_whole).

    A whole video has the label of its first segment. Segments end where their video does.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: An entry is malformed.
    """
    path = find_annotation(folder, 'activity_net.v1-3*.json', 'activity_net*.json')
    database = load_json(path, dict).get('database')
    if not isinstance(database, dict):
        raise ValueError(f"{path}: expected an object with the key 'database'")
    found: set[str] = set()
    for identifier, video in database.items():
        place = f'{path}: {identifier}'
        if not isinstance(video, dict) or video.get('subset') not in _SUBSETS:
            raise ValueError(f'{place}: expected a subset ({", ".join(_SUBSETS)}), found {video!r}')
        found |= {one['label'] for one in _segments(video, place) if _segment(one, place)}
    classes = read_classes(folder, class_order, found, path)
    lists: dict[str, list[Row]] = {
        name: [] for name in ('train', 'val', 'train_whole', 'val_whole', 'test_whole')
    }
    mixed = 0
    for identifier, video in database.items():
        split = _SUBSETS[video['subset']]
        place = f'{path}: {identifier}'
        names = (f'v_{identifier}', identifier)
        duration = float(video.get('duration') or 0)
        labels = []
        for one in _segments(video, place):
            start, end = _segment(one, place)
            start, end = max(start, 0.0), min(end, duration)
            labels.append(classes.label(one['label'], place))
            clip = f'v_{identifier}_{round(start * 1000):07}_{round(end * 1000):07}'
            lists[split].append(
                Row(
                    place=place,
                    names=(clip,),
                    label=labels[-1],
                    split=split,
                    left_out='' if end > start else 'its segment is empty',
                    source=names,
                    segment=(start, end),
                    duration=duration,
                )
            )
        mixed += len(set(labels)) > 1
        without = '' if labels or split == 'test' else 'it has no segment'
        label = labels[0] if labels else None
        lists[f'{split}_whole'].append(Row(place, names, label, split, left_out=without))
    notes = ['whole videos have the label of their first segment']
    if mixed:
        notes[0] += f'; {mixed} have segments of several classes'
    return Annotation(classes.names, lists, _order(classes, path), notes)


def _order(classes: ClassIndex, path: Path) -> str:
    if classes.source == path:
        return 'sorted names'
    return f'mmaction2: {classes.source.name}'


READERS = {
    'activitynet': Reader(
        title='ActivityNet 1.3',
        read=read,
        num_classes=200,
        official={
            'train': 15410,
            'val': 7654,
            'train_whole': 10024,
            'val_whole': 4926,
            'test_whole': 5044,
        },
        orders=(MMACTION2, SORTED),
    )
}
