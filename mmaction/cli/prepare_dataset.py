"""Make our lists from the official annotation of a dataset.

    python tools/data/prepare.py DATASET --annotations DIR --videos DIR --out DIR

OUT gets train.txt, val.txt, ... (`path label`, paths from the folder of the videos on),
classes.txt, summary.txt (how many rows there should be, are, and what became of them) and
dropped.tsv (each row that is in no list, and why). Run it again when more clips are there.
With --frames the clips are folders of images, and the lists are called train_rawframes.txt,
... (`folder frames label`). --check reads every clip as training does, so that only good
ones come into the lists; stopped and run again, it resumes. With --shard I/N only a share is
checked; run it without after all shares, which writes the lists. What each dataset needs is in
docs/data_preparation.md.
"""

from __future__ import annotations

import argparse
import functools
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mmaction.utils.cli import Parser, add_job_options, check_files, user_errors
from mmaction.utils.work_share import add_share_option

if TYPE_CHECKING:
    from mmaction.data_preparation import Reader

__all__ = ['main', 'parse_args']

# The modules of the readers.
DATASETS = {
    'activitynet': 'activitynet',
    'diving48': 'diving48',
    'hmdb51': 'hmdb51',
    'hvu': 'hvu',
    'jester': 'jester',
    'kinetics400': 'kinetics',
    'kinetics600': 'kinetics',
    'kinetics700': 'kinetics',
    'kinetics700_2020': 'kinetics',
    'mit': 'mit',
    'mmit': 'mmit',
    'omnisource': 'omnisource',
    'sthv1': 'sthv1',
    'sthv2': 'sthv2',
    'ucf101': 'ucf101',
}


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('dataset', choices=DATASETS, metavar='DATASET', help=', '.join(DATASETS))
    add('--annotations', type=Path, required=True, metavar='DIR', help='official annotation')
    add('--videos', type=Path, required=True, metavar='DIR', help='clips, in any folders in it')
    add('--out', type=Path, required=True, metavar='DIR', help='where to write')
    add('--frames', action='store_true', help='clips are folders of images')
    add('--check', action='store_true', help='read every clip; leave out what cannot be read')
    add('--quick', action='store_true', help='with --check: three frames of each')
    add('--trim', action='store_true', help='ActivityNet: cut clips into VIDEOS/clips')
    add(
        '--class-order',
        default='mmaction2',
        choices=('mmaction2', 'alphabetical'),
        help='what the labels count (%(default)s)',
    )
    add('--classes', type=Path, metavar='FILE', help='class names in the order of their labels')
    add('--overwrite', action='store_true', help='replace lists that have other classes')
    add_job_options(parser, timeout=300)
    add_share_option(parser)
    args = parser.parse_args(argv)
    if args.quick and not args.check:
        parser.error('--quick is for --check')
    if not args.shard.is_all and not args.check:
        parser.error('--shard is for --check, which is what takes time')
    if not args.shard.is_all and args.trim:
        parser.error('--trim is not shared out: run it on one machine first')
    if args.trim and (args.dataset != 'activitynet' or args.frames):
        parser.error('--trim is for videos of activitynet')
    if args.classes and args.class_order != 'mmaction2':
        parser.error('--classes and --class-order exclude each other')
    return args


def reader_of(dataset: str) -> Reader:
    """The reader of a dataset."""
    module = import_module(f'mmaction.data_preparation.readers.{DATASETS[dataset]}')
    reader: Reader = module.READERS[dataset]
    return reader


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, prepare."""
    args = parse_args(argv, prog)
    check_files(args, 'annotations', 'videos')
    from mmaction.data_preparation import Request, check_clips, prepare

    with user_errors(setup=True):
        request = Request(
            dataset=args.dataset,
            annotations=args.annotations,
            videos=args.videos,
            out=args.out,
            frames=args.frames,
            class_order=args.class_order,
            classes=args.classes,
            trim=args.trim,
            overwrite=args.overwrite,
            workers=args.workers,
            timeout=args.timeout,
            share=args.shard,
        )
        check = None
        if args.check:
            check = functools.partial(
                check_clips,
                folder=args.videos,
                journal_file=args.out / 'checked.jsonl',
                quick=args.quick,
                workers=args.workers,
                timeout=args.timeout,
                share=args.shard,
            )
        prepare(reader_of(args.dataset), request, check)
