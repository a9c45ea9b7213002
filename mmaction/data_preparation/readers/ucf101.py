"""UCF101: classInd.txt, trainlist01.txt (path and label), testlist01.txt (path)."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import (
    Annotation,
    ClassIndex,
    Reader,
    Row,
    find_annotation,
    strip_extension,
    text_rows,
)

__all__ = ['read', 'read_classes']


def read_classes(path: Path) -> ClassIndex:
    """The classes of `1 ApplyEyeMakeup`, `2 ApplyLipstick`, ...

    Raises:
        ValueError: A line is malformed.
    """
    names: list[str] = []
    for place, line in text_rows(path):
        number, _, name = line.partition(' ')
        if number != str(len(names) + 1) or not name.strip():
            raise ValueError(f"{place}: expected '{len(names) + 1} Class', found {line!r}")
        names.append(name.strip())
    return ClassIndex(names, path)


def read(folder: Path, class_order: str) -> Annotation:
    """Read the three splits; labels count from 1 in the files.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A line is malformed, or its label is not that of its folder.
    """
    classes = read_classes(find_annotation(folder, 'classind.txt'))
    lists = {}
    for split in (1, 2, 3):
        for part in ('train', 'test'):
            rows = []
            for place, line in text_rows(find_annotation(folder, f'{part}list{split:02}.txt')):
                path, _, number = line.partition(' ')
                name, slash, clip = path.partition('/')
                if not slash or not clip:
                    raise ValueError(f"{place}: expected 'Class/clip.avi 1', found {line!r}")
                label = classes.label(name, place)
                if number.strip() not in ('', str(label + 1)):
                    raise ValueError(
                        f'{place}: label {number.strip()} is not that of {name!r} ({label + 1})'
                    )
                stem = strip_extension(clip)
                rows.append(Row(place, (f'{name}/{stem}', stem), label))
            lists[f'{part}_split{split}'] = rows
    return Annotation(classes.names, lists, 'mmaction2: classInd.txt')


READERS = {
    'ucf101': Reader(
        title='UCF101',
        read=read,
        num_classes=101,
        official={
            'train_split1': 9537,
            'test_split1': 3783,
            'train_split2': 9586,
            'test_split2': 3734,
            'train_split3': 9624,
            'test_split3': 3696,
        },
        # Files of the folder HandstandPushups are called v_HandStandPushups_...
        fold_case=True,
    )
}
