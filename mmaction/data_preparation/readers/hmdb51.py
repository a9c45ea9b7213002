"""HMDB51: a file for each class and split, lines `clip.avi 1`."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import Annotation, Reader, Row, strip_extension, text_rows
from mmaction.utils.plurals import how_many

__all__ = ['read']

# What the number behind a clip says: trained on, tested on, or neither.
_LISTS = {'1': 'train', '2': 'test', '0': 'unused'}


def read(folder: Path, class_order: str) -> Annotation:
    """Read `{class}_test_split{1,2,3}.txt`; classes are sorted by name.

    Raises:
        FileNotFoundError: There are no such files, or a class lacks a split.
        ValueError: A line is malformed, or a file is there twice.
    """
    files: dict[tuple[str, int], Path] = {}
    for path in sorted(folder.rglob('[!.]*_test_split[123].txt')):
        key = path.name.rsplit('_test_split', 1)[0], int(path.stem[-1])
        if files.setdefault(key, path) is not path:
            raise ValueError(f'{str(files[key])!r} and {str(path)!r}: leave one of them')
    classes = sorted({name for name, _ in files})
    if not classes:
        raise FileNotFoundError(
            f'there is no CLASS_test_split1.txt in {str(folder)!r}: unpack '
            'test_train_splits.rar there (docs/data_preparation.md)'
        )
    lists: dict[str, list[Row]] = {}
    notes = []
    for split in (1, 2, 3):
        rows: dict[str, list[Row]] = {'train': [], 'test': [], 'unused': []}
        for label, name in enumerate(classes):
            if (name, split) not in files:
                raise FileNotFoundError(f'there is no {name}_test_split{split}.txt in {folder}')
            for place, line in text_rows(files[name, split]):
                clip, _, number = line.rpartition(' ')
                if number not in _LISTS or not clip:
                    raise ValueError(f"{place}: expected 'clip.avi 0', 1 or 2, found {line!r}")
                stem = strip_extension(clip.strip())
                rows[_LISTS[number]].append(Row(place, (f'{name}/{stem}', stem), label))
        unused = len(rows.pop('unused'))
        notes.append(f'split {split}: {how_many(unused, "clip")} neither to train nor to test (0)')
        lists |= {f'{part}_split{split}': members for part, members in rows.items()}
    return Annotation(classes, lists, 'mmaction2: sorted names', notes)


READERS = {
    'hmdb51': Reader(
        title='HMDB51',
        read=read,
        num_classes=51,
        official={
            f'{part}_split{split}': count
            for split in (1, 2, 3)
            for part, count in (('train', 3570), ('test', 1530))
        },
        fold_case=True,
    )
}
