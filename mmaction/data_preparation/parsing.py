"""Official annotation files: finding them, and reading text, CSV and JSON row by row."""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ['ClassIndex', 'csv_rows', 'find_annotation', 'load_json', 'text_rows', 'try_annotation']

_DEPTH = 3


def try_annotation(folder: Path, *patterns: str) -> Path | None:
    """The file of an annotation that fits the first pattern that any file fits, or None.

    Args:
        folder: Where to look; also in folders in it.
        patterns: Names with `*`, in small letters, the preferred one first.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Several files fit equally well.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {str(folder)!r} (--annotations)')
    wanted = re.compile('|'.join(map(fnmatch.translate, patterns)))
    files: list[tuple[int, str]] = []
    for root, folders, names in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = [n for n in folders if not n.startswith('.') and depth + 1 < _DEPTH]
        # Clips may lie here as well, millions of them; macOS leaves files called '._...'.
        files += [
            (depth, os.path.join(root, name))
            for name in names
            if not name.startswith('.') and wanted.fullmatch(name.lower())
        ]
    for pattern in patterns:
        fits = [(d, f) for d, f in files if fnmatch.fnmatch(os.path.basename(f).lower(), pattern)]
        nearest = sorted(f for d, f in fits if d == min(fits)[0])
        if len(nearest) > 1:
            raise ValueError(
                f'{nearest[0]!r} and {nearest[1]!r} could both be meant: leave one of them in '
                f'{str(folder)!r}'
            )
        if nearest:
            return Path(nearest[0])
    return None


def find_annotation(folder: Path, *patterns: str) -> Path:
    """As `try_annotation`, for a file that has to be there.

    Raises:
        FileNotFoundError: No file fits.
    """
    path = try_annotation(folder, *patterns)
    if path is None:
        raise FileNotFoundError(
            f'there is no {" or ".join(patterns)} in {str(folder)!r}: put the official annotation '
            'there (docs/data_preparation.md)'
        )
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding='utf-8-sig', errors='surrogateescape')


def text_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of the lines of a file that are not blank, without blanks at their ends."""
    for number, line in enumerate(_text(path).split('\n'), start=1):
        if line.strip():
            yield f'{path}:{number}', line.strip()


def csv_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and fields of the rows of a CSV file with a header.

    The order of the columns does not matter, further ones are passed over; blanks around
    a field go. Tabs part the fields if the header has them.

    Args:
        path: The file.
        columns: Columns that have to be there.
        optional: Columns that may be; their fields are '' where they are not.

    Raises:
        ValueError: A column or a field is missing.
    """
    with path.open(encoding='utf-8-sig', errors='surrogateescape', newline='') as file:
        header = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter='\t' if '\t' in header else ',')
        names = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in names]
        if missing:
            raise ValueError(
                f'{path}:1: expected a header with {",".join(columns)}, found {",".join(names)!r}'
            )
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            place = f'{path}:{reader.line_num}'
            if len(fields) != len(names):
                raise ValueError(
                    f'{place}: expected {len(names)} fields ({",".join(names)}), found {fields}'
                )
            row = {name: field.strip() for name, field in zip(names, fields, strict=True)}
            yield place, {name: row.get(name, '') for name in (*columns, *optional)}


def load_json(path: Path, kind: type) -> Any:
    """The content of a JSON file, a `dict` or a `list`.

    Raises:
        ValueError: It is not valid, or something else.
    """
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}:{error.lineno}: not valid JSON: {error.msg}') from None
    if not isinstance(content, kind):
        words: dict[type, str] = {dict: 'an object', list: 'an array'}
        raise ValueError(
            f'{path}: expected {words.get(kind, kind.__name__)}, found {type(content).__name__}'
        )
    return content


class ClassIndex:
    """Labels of class names.

    Args:
        names: In the order of their labels.
        source: The file that they come from.

    Raises:
        ValueError: A name is there twice, or none is there.
    """

    def __init__(self, names: Iterable[str], source: Path) -> None:
        self.names = list(names)
        self.source = source
        self._labels = {name: label for label, name in enumerate(self.names)}
        if not self.names:
            raise ValueError(f'{source}: there are no class names in it')
        if len(self._labels) < len(self.names):
            twice = next(name for i, name in enumerate(self.names) if self._labels[name] != i)
            raise ValueError(f'{source}: class {twice!r} is there twice')

    def __len__(self) -> int:
        return len(self.names)

    def label(self, name: str, place: str) -> int:
        """The label of a class.

        Raises:
            ValueError: There is no such class; one that differs only in capitals or
                blanks is named.
        """
        label = self._labels.get(name)
        if label is None:
            flat = ''.join(name.split()).casefold()
            near = [one for one in self.names if ''.join(one.split()).casefold() == flat]
            hint = f'; {near[0]!r} is one' if near else ''
            raise ValueError(f'{place}: {self.source} has no class {name!r}{hint}')
        return label

    def check(self, text: str, place: str) -> int:
        """A label that is given as a number.

        Raises:
            ValueError: It is no whole number, or there is no such class.
        """
        try:
            label = int(text)
        except ValueError:
            raise ValueError(f'{place}: expected a label, found {text!r}') from None
        if not 0 <= label < len(self.names):
            raise ValueError(
                f'{place}: label {label} is outside the {len(self.names)} classes of '
                f'{self.source} (0 to {len(self.names) - 1})'
            )
        return label
