"""Moments in Time V2: moments_categories.txt, trainingSet.csv, validationSet.csv."""

from __future__ import annotations

from pathlib import Path

from mmaction.data_preparation import Annotation, Reader, read_moments

__all__ = ['read']


def read(folder: Path, class_order: str) -> Annotation:
    """Read rows `yawning/clip.mp4,yawning,3,0`."""
    return read_moments(folder, several=False)


# The published numbers of clips are of V1, which is no longer to be had.
READERS = {'mit': Reader(title='Moments in Time V2', read=read, num_classes=305, official={})}
