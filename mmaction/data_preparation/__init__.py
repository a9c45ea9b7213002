"""From the official annotation of a dataset to our lists: what all readers share.

A reader (`readers/NAME.py`) turns official files into `Row`s. The rest is here: finding the
clip of each row on the disk, accounting for every row, writing the lists.
"""

from mmaction.datasets.numbered_frames import FrameFolder

from .integrity import check_clips
from .parsing import ClassIndex, csv_rows, find_annotation, load_json, text_rows, try_annotation
from .pipeline import Request, prepare
from .schema import MMACTION2, SORTED, Annotation, Reader, Row, strip_extension
from .shared_formats import read_moments, read_numbered

__all__ = [
    'MMACTION2',
    'SORTED',
    'Annotation',
    'ClassIndex',
    'FrameFolder',
    'Reader',
    'Request',
    'Row',
    'check_clips',
    'csv_rows',
    'find_annotation',
    'load_json',
    'prepare',
    'read_moments',
    'read_numbered',
    'strip_extension',
    'text_rows',
    'try_annotation',
]
