"""Diving48 V2: Diving48_V2_{train,test}.json and Diving48_vocab.json."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import (
    Annotation,
    ClassIndex,
    Reader,
    Row,
    find_annotation,
    load_json,
    strip_extension,
    try_annotation,
)

__all__ = ['read']


def read(folder: Path, class_order: str) -> Annotation:
    """Read train and test; classes are the four parts of a dive in the order of the vocabulary.

    Raises:
        FileNotFoundError: A file of V2 is missing.
        ValueError: An entry is malformed, or only the first version of the labels is there.
    """
    if try_annotation(folder, 'diving48_v2_train.json') is None and try_annotation(
        folder, 'diving48_train.json'
    ):
        raise ValueError(
            f'{folder} has Diving48_train.json, the noisy labels of V1, whose accuracies do not '
            'compare: put Diving48_V2_train.json and Diving48_V2_test.json there'
        )
    path = find_annotation(folder, 'diving48_vocab.json')
    names = []
    for number, parts in enumerate(load_json(path, list)):
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f'{path}: entry {number}: expected a list of words, found {parts!r}')
        names.append(' '.join(parts))
    classes = ClassIndex(names, path)
    lists = {}
    for split in ('train', 'test'):
        path = find_annotation(folder, f'diving48_v2_{split}.json')
        rows = []
        for number, entry in enumerate(load_json(path, list)):
            place = f'{path}: entry {number}'
            name = entry.get('vid_name') if isinstance(entry, dict) else None
            if not isinstance(name, str) or type(entry.get('label')) is not int:
                raise ValueError(f"{place}: expected 'vid_name' and 'label', found {entry!r}")
            label = classes.check(str(entry['label']), place)
            rows.append(Row(place, (strip_extension(name),), label, split))
        lists[split] = rows
    return Annotation(classes.names, lists, 'mmaction2: the numbers of the vocabulary')


READERS = {
    'diving48': Reader(
        title='Diving48 V2',
        read=read,
        num_classes=48,
        official={'train': 15027, 'test': 1970},
    )
}
