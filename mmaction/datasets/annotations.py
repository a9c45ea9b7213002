"""Reading annotation lists: text, header-less CSV and JSON."""

from __future__ import annotations

import csv
import json
import os.path as osp
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmaction.utils.cli import brief
from mmaction.utils.remote import exists, read_bytes, redacted

__all__ = ['ListFormat', 'read_list']

_INTEGER = re.compile(r'[+-]?[0-9]+')


@dataclass(frozen=True)
class ListFormat:
    """What a line of an annotation list holds: a path, numbers, label(s).

    Args:
        path_key: Key of the path, `filename` or `frame_dir`.
        counts: Keys of the integers between path and label, with their least value.
        delimiter: What parts the fields. A blank stands for any run of blanks
            and tabs; in a `.csv` list it also allows commas.
        multi_class: Any number of labels per line, kept as a list. Paths then must
            not end in a delimiter and a number, or have to stand in a JSON list.
        num_classes: Labels have to be smaller; None does not check.
        categories: Number of labels of each category, for JSON lists whose
            labels count within their category: {"action": [17], "scene": [3]}.
            They then count through all categories, in this order.

    Raises:
        ValueError: `delimiter` is empty.
    """

    path_key: str
    counts: dict[str, int] = field(default_factory=dict)
    delimiter: str = ' '
    multi_class: bool = False
    num_classes: int | None = None
    categories: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.delimiter:  # as --cfg-options reads a blank
            raise ValueError('`delimiter` is empty: leave it out for blanks and tabs')

    @property
    def example(self) -> str:
        """The form of a line, for messages."""
        labels = ['label1', 'label2', '...'] if self.multi_class else ['label']
        return self.delimiter.join(['path', *self.counts, *labels])


def read_list(ann_file: str, form: ListFormat) -> list[dict[str, Any]]:
    """The entries of an annotation list.

    Text lists hold one clip per line, `form.example`. Blank lines, CRLF and
    blanks at the end of a line do no harm. The label is what follows the last
    delimiter, so paths may hold blanks. Where no line of the list has a label,
    or all have -1, all get -1. JSON lists are arrays of objects with the same keys and `label`
    (an integer or a list of integers), as in mmaction2 0.x. With `categories`
    it is an object of such lists, and the entries get `categories`, the names
    of those that are labeled.

    Args:
        ann_file: Path or URL of the list.
        form: What a line holds.

    Returns:
        Dicts of path, counts and `label` (int, or list of int with `multi_class`).

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: The list is empty or an entry is malformed; file, line and
            what was found are named.
    """
    if not ann_file:
        raise ValueError('`ann_file` is empty: give the path of an annotation list')
    if not exists(ann_file):
        raise FileNotFoundError(
            f'annotation list {redacted(ann_file)!r} does not exist: set `ann_file` (and '
            '`data_root`, which stands before a relative path) of the dataset'
        )
    # Paths are bytes to the system: what is not UTF-8 passes through as it is.
    text = read_bytes(ann_file, fresh=True).decode('utf-8-sig', errors='surrogateescape')
    is_json = osp.splitext(ann_file)[1].lower() == '.json'
    if form.categories and not is_json:
        raise ValueError(
            f'annotation list {ann_file!r}: labels of several categories stand in a .json list'
        )
    lines = _json_entries if is_json else _text_entries
    entries, unlabeled = [], []
    for place, entry in lines(text, ann_file, form):
        _check_entry(entry, place, form)
        entries.append(entry)
        if entry['label'] == -1:
            unlabeled.append(place)
    if not entries:
        raise ValueError(f'annotation list {ann_file!r} is empty: it needs at least one clip')
    if unlabeled and len(unlabeled) < len(entries):
        raise ValueError(
            f'{unlabeled[0]}: no label, while other lines have one; expected {form.example!r}'
        )
    return entries


def _text_entries(
    text: str, ann_file: str, form: ListFormat
) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split('\n'), start=1):
        line = line.strip()
        if line:
            place = f'{ann_file}:{number}'
            yield place, _parse_line(line, _separator(line, ann_file, form), place, form)


def _separator(line: str, ann_file: str, form: ListFormat) -> str | None:
    """What parts the fields of a line; None is any run of blanks, as for `str.split`."""
    if form.delimiter != ' ':
        return form.delimiter
    is_csv = ann_file.lower().endswith('.csv')
    if is_csv and ',' in line and _INTEGER.fullmatch(line.rpartition(',')[2].strip()):
        return ','
    return None


def _parse_line(line: str, separator: str | None, place: str, form: ListFormat) -> dict[str, Any]:
    at_most = len(line) if form.multi_class else len(form.counts) + 1
    path, numbers = _split_numbers(line, separator, at_most)
    # A path of several words and no number at all is rather a label that is no number.
    lost_label = not numbers and len(path.rsplit(separator, 1)) > 1
    if len(numbers) < len(form.counts) or (lost_label and not form.multi_class):
        raise ValueError(
            f'{place}: expected {form.example!r} with integers after the path, found '
            f'{brief(line, 200)}'
        )
    if path.startswith('"') and separator == ',':
        path = next(csv.reader([path]))[0]
    entry: dict[str, Any] = {form.path_key: path}
    entry.update(zip(form.counts, numbers, strict=False))
    labels = numbers[len(form.counts) :]
    if labels == [-1]:  # no label, as in mmaction2
        labels = []
    entry['label'] = labels if form.multi_class else (labels[0] if labels else -1)
    return entry


def _split_numbers(line: str, separator: str | None, at_most: int) -> tuple[str, list[int]]:
    """Cut up to `at_most` integers off the end of a line."""
    numbers: list[int] = []
    while len(numbers) < at_most:
        parts = line.rsplit(separator, 1)
        if len(parts) < 2 or not parts[0].strip() or not _INTEGER.fullmatch(parts[1].strip()):
            break
        line = parts[0].rstrip()
        numbers.insert(0, int(parts[1]))
    return line, numbers


def _json_entries(
    text: str, ann_file: str, form: ListFormat
) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{ann_file}:{error.lineno}: not valid JSON: {error.msg}') from None
    if not isinstance(raw, list):
        raise ValueError(f'{ann_file}: expected a JSON array of clips, found {type(raw).__name__}')
    for number, item in enumerate(raw):
        place = f'{ann_file}: entry {number}'
        keys = [form.path_key, *form.counts, 'label']
        if not isinstance(item, dict) or not isinstance(item.get(form.path_key), str):
            raise ValueError(f'{place}: expected an object with {keys}, found {brief(item, 200)}')
        entry = {key: item[key] for key in keys if key in item}
        for key in form.counts:
            if type(entry.get(key)) is not int:
                raise ValueError(
                    f'{place}: {key!r} must be an integer, found {brief(entry.get(key))}'
                )
        if form.categories:
            entry['categories'], label = _category_labels(entry.get('label', {}), place, form)
            entry['label'] = label
        else:
            entry['label'] = _json_label(entry.get('label', -1), place, form)
        yield place, entry


def _category_labels(label: Any, place: str, form: ListFormat) -> tuple[list[str], list[int]]:
    """The categories that are labeled, and the labels counted through all categories."""
    unknown = sorted(set(label) - set(form.categories)) if isinstance(label, dict) else [label]
    if unknown:
        raise ValueError(
            f'{place}: label must be an object with some of the categories '
            f'{list(form.categories)}, found {brief(unknown[0])}'
        )
    labels, first = [], 0
    for category, count in form.categories.items():
        for one in label.get(category, []):
            if type(one) is not int or not 0 <= one < count:
                raise ValueError(
                    f'{place}: label {brief(one)} of {category!r} is outside its {count} labels '
                    f'(0 to {count - 1})'
                )
            labels.append(first + one)
        first += count
    return [category for category in form.categories if category in label], labels


def _json_label(label: Any, place: str, form: ListFormat) -> int | list[int]:
    labels: list[int] = label if isinstance(label, list) else [label]
    if any(type(one) is not int for one in labels):
        raise ValueError(
            f'{place}: label must be an integer or a list of them, found {brief(label)}'
        )
    if form.multi_class:
        return [] if label == -1 else labels
    if len(labels) != 1:
        raise ValueError(
            f'{place}: expected one label, found {labels}; set `multi_class=True` for several'
        )
    return labels[0]


def _check_entry(entry: dict[str, Any], place: str, form: ListFormat) -> None:
    for key, least in form.counts.items():
        if entry[key] < least:
            raise ValueError(f'{place}: {key} must be at least {least}, found {entry[key]}')
    labels = entry['label'] if form.multi_class else [entry['label']]
    least = 0 if form.multi_class else -1
    for label in labels:
        if label < least:
            raise ValueError(f'{place}: labels count from 0, found {label}')
        if form.num_classes is not None and label >= form.num_classes:
            raise ValueError(
                f'{place}: label {label} is outside the {form.num_classes} classes '
                f'(0 to {form.num_classes - 1})'
            )
