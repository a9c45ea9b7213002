"""Something-Something V1: something-something-v1-{labels,train,validation,test}.csv."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import Annotation, Reader, read_numbered

__all__ = ['read']


def read(folder: Path, class_order: str) -> Annotation:
    """Read the four files; mmaction2 has the order of the labels file, TSM the sorted names."""
    return read_numbered(folder, 'something-something-v1')


READERS = {
    'sthv1': Reader(
        title='Something-Something V1',
        read=read,
        num_classes=174,
        official={'train': 86017, 'val': 11522, 'test': 10960},
    )
}
