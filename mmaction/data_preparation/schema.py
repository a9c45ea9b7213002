"""What a reader of an official annotation gives: rows, classes, and what is published of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmaction.utils.file_types import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

__all__ = ['MMACTION2', 'SORTED', 'Annotation', 'Label', 'Reader', 'Row', 'strip_extension']

# Orders of the classes: that of mmaction2's lists, and that of the sorted names.
MMACTION2, SORTED = 'mmaction2', 'alphabetical'

# One class; several; the classes of each category, by their number in it; not published.
Label = int | tuple[int, ...] | dict[str, list[int]] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an official annotation, for one list.

    Args:
        place: File and line (or entry), for messages.
        names: Where its clip may be, without extension, the usual place first: the end
            of a path, of as many parts as the dataset needs to tell clips apart.
        label: Its label.
        split: 'train', 'val' or 'test': of two clips of one name, the one in a folder
            that is called so is meant.
        left_out: Why the row is not wanted in the list, though its clip may be there.
        image: The clip is one image.
        source: With `segment`: where the whole video may be, as in `names`.
        segment: Start and end in the whole video, in seconds.
        duration: Length of the whole video, in seconds.
    """

    place: str
    names: tuple[str, ...]
    label: Label
    split: str = ''
    left_out: str = ''
    image: bool = False
    source: tuple[str, ...] = ()
    segment: tuple[float, float] | None = None
    duration: float = 0.0


@dataclass
class Annotation:
    """An official annotation.

    Args:
        classes: Names in the order of the labels.
        lists: Rows of each list, by its name: 'train', 'val', 'test_split1', ...
        order: What the order of the classes is, in words.
        notes: What else the user should know.
        categories: Names of the classes of each category, if labels are by category.
    """

    classes: list[str]
    lists: dict[str, list[Row]]
    order: str
    notes: list[str] = field(default_factory=list)
    categories: dict[str, list[str]] | None = None


@dataclass(frozen=True)
class Reader:
    """How a dataset is read, and its published size.

    Args:
        title: Name of the dataset.
        read: Takes the folder of the annotation and the order of the classes.
        num_classes: Published number of classes.
        official: Published number of rows of each list.
        orders: Orders of the classes to choose from; the first is the default.
        fold_case: File names may differ from the annotation in capitals.
        one_naming: The places of `Row.names` exclude each other: all clips are looked for
            at the one at which most are.
    """

    title: str
    read: Callable[[Path, str], Annotation]
    num_classes: int
    official: dict[str, int]
    orders: tuple[str, ...] = (MMACTION2, SORTED)
    fold_case: bool = False
    one_naming: bool = False


def strip_extension(path: str, extensions: tuple[str, ...] = ()) -> str:
    """A path without the extension of a video or image; other dots stay.

    Args:
        path: The path.
        extensions: What counts as one (default: those of all videos and images).
    """
    known = extensions or (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)
    while True:
        stem, extension = os.path.splitext(path)
        if extension.lower() not in known:
            return path
        path = stem
