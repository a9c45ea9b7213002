"""Something-Something V2: the JSON files of either release."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import (
    Annotation,
    ClassIndex,
    Reader,
    Row,
    find_annotation,
    load_json,
    text_rows,
    try_annotation,
)

__all__ = ['read', 'read_classes', 'without_brackets']

_PREFIX = 'something-something-v2-'


def read_classes(path: Path) -> ClassIndex:
    """The classes of `{"Approaching something with your camera": "0", ...}`.

    Raises:
        ValueError: The numbers are not 0, 1, 2, ...
    """
    numbers = {name: str(number) for name, number in load_json(path, dict).items()}
    names = sorted(numbers, key=lambda name: (len(numbers[name]), numbers[name]))
    if [numbers[name] for name in names] != [str(i) for i in range(len(names))]:
        raise ValueError(f'{path}: expected the numbers 0 to {len(names) - 1}, once each')
    return ClassIndex(names, path)


def without_brackets(template: str) -> str:
    """The class of a template: '[Something] falling' is 'Something falling'."""
    return template.replace('[', '').replace(']', '')


def read(folder: Path, class_order: str) -> Annotation:
    """Read labels, train, validation and test; test has labels if test-answers.csv is there.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: An entry is malformed.
    """
    classes = read_classes(find_annotation(folder, f'{_PREFIX}labels.json', 'labels.json'))
    answers: dict[str, int] = {}
    path = try_annotation(folder, f'{_PREFIX}test-answers.csv', 'test-answers.csv')
    for place, line in text_rows(path) if path else ():
        identifier, found, name = line.partition(';')
        if not found:
            raise ValueError(f"{place}: expected 'id;Class name', found {line!r}")
        answers[identifier.strip()] = classes.label(without_brackets(name.strip()), place)
    lists = {}
    for split, name in (('train', 'train'), ('val', 'validation'), ('test', 'test')):
        find = try_annotation if split == 'test' else find_annotation
        path = find(folder, f'{_PREFIX}{name}.json', f'{name}.json')
        if path is None:
            continue
        rows = []
        for number, entry in enumerate(load_json(path, list)):
            place = f'{path}: entry {number}'
            identifier = str(entry.get('id', '')) if isinstance(entry, dict) else ''
            template = entry.get('template') if isinstance(entry, dict) else None
            if not identifier or not (split == 'test' or isinstance(template, str)):
                raise ValueError(f"{place}: expected 'id' and 'template', found {entry!r}")
            label = answers.get(identifier)
            if isinstance(template, str):
                label = classes.label(without_brackets(template), place)
            rows.append(Row(place, (identifier,), label, split))
        lists[split] = rows
    return Annotation(classes.names, lists, 'mmaction2: the numbers of labels.json')


READERS = {
    'sthv2': Reader(
        title='Something-Something V2',
        read=read,
        num_classes=174,
        official={'train': 168913, 'val': 24777, 'test': 27157},
    )
}
