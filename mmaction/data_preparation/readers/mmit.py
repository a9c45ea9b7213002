"""Multi-Moments in Time V2: categories, trainingSet and validationSet (.csv or .txt)."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import Annotation, Reader, read_moments

__all__ = ['read']


def read(folder: Path, class_order: str) -> Annotation:
    """Read rows `yawning/clip.mp4,12,45,301`, which count classes from 0."""
    return read_moments(folder, several=True)


READERS = {
    'mmit': Reader(title='Multi-Moments in Time V2', read=read, num_classes=292, official={})
}
