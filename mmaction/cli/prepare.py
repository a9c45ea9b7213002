"""Prepare videos for training: your own folder, or a public dataset.

    mmaction prepare FOLDER OUT           # FOLDER/CLASS/clip.mp4
    mmaction prepare kinetics400 --annotations DIR --videos DIR --out DIR

FOLDER has a folder for each class. Its videos are re-encoded into OUT for fast reading; broken
ones are listed in OUT/failures.txt and left out. Then OUT/train.txt, OUT/val.txt and
OUT/classes.txt are written. "mmaction prepare DATASET --help" has the options of the datasets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmaction.utils.cli import Parser, add_job_options, check_files, user_errors
from mmaction.utils.suggest import did_you_mean

from . import prepare_dataset

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line of `prepare FOLDER`."""
    parser = Parser(
        prog=prog,
        description=__doc__,
        epilog=f'datasets: {", ".join(prepare_dataset.DATASETS)}',
    )
    add = parser.add_argument
    add('folder', type=Path, help='folder of the videos, with a folder for each class')
    add('out', type=Path, help='folder to write to')
    add('--short-side', type=int, default=256, metavar='PIXELS', help='%(default)s; or 320')
    add('--val', type=float, default=0.2, metavar='PART', help='part to validate on (%(default)s)')
    add('--group', metavar='REGEX', help='finds the group in a path, as its first (...) or all')
    add('--seed', type=int, default=0, help='another seed, another split')
    add('--overwrite', action='store_true', help='make videos and lists again')
    add_job_options(parser, timeout=3600)
    args = parser.parse_args(argv)
    if args.short_side < 16:
        parser.error(f'--short-side {args.short_side} must be at least 16')
    if not 0 <= args.val < 1:
        parser.error(f'--val {args.val} must be at least 0 and below 1')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Prepare the folder, or the dataset."""
    given = sys.argv[1:] if argv is None else argv
    first = given[0] if given else ''
    if first in prepare_dataset.DATASETS and not Path(first).is_dir():
        prepare_dataset.main(given, prog)
        return
    if first and not first.startswith('-') and not Path(first).exists():
        hint = did_you_mean(first, prepare_dataset.DATASETS)
        if hint:
            print(f'error: there is no folder or dataset {first}{hint}', file=sys.stderr)
            sys.exit(1)
    args = parse_args(given, prog)
    check_files(args, 'folder')
    from mmaction.data_preparation.file_lists import build_lists
    from mmaction.data_preparation.reencode import Settings, reencode_folder

    with user_errors(setup=True):
        whole = reencode_folder(
            args.folder,
            args.out,
            Settings(short_side=args.short_side),
            workers=args.workers,
            timeout=args.timeout,
            overwrite=args.overwrite,
        )
        build_lists(
            args.out, args.out, val=args.val, group=args.group, seed=args.seed,
            overwrite=args.overwrite,
        )  # fmt: skip
    sys.exit(0 if whole else 1)
