"""Jester: jester-v1-{labels,train,validation,test}.csv."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import Annotation, Reader, read_numbered

__all__ = ['read']


def read(folder: Path, class_order: str) -> Annotation:
    """Read the four files; mmaction2 has the order of the labels file, TRN the sorted names."""
    return read_numbered(folder, 'jester-v1')


READERS = {
    'jester': Reader(
        title='Jester',
        read=read,
        num_classes=27,
        official={'train': 118562, 'val': 14787, 'test': 14743},
    )
}
