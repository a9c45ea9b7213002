"""Write the lists of a dataset: train.txt, val.txt and classes.txt.

    python tools/data/build_file_list.py FOLDER                       # FOLDER/CLASS/clip.mp4
    python tools/data/build_file_list.py FOLDER --csv labels.csv      # columns path,label

Each class is divided by --val; clips of one group (--group, or the column `group`) never
come to stand on both sides. A column `split` (train, val or test) divides instead, and so
do the folders of --split-folders: FOLDER/train/CLASS/clip.mp4. Paths in the lists are
relative to FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmaction.utils.cli import Parser, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('folder', type=Path, help='folder of the clips, by default with a folder for each class')
    add('--csv', type=Path, metavar='FILE', help='path,label[,group][,split]; .tsv takes tabs')
    add('--split-folders', action='store_true', help='FOLDER/{train,val,test}/CLASS/clip')
    add('--rawframes', action='store_true', help='clips are folders of images')
    add('--val', type=float, default=0.2, metavar='PART', help='part to validate on (%(default)s)')
    add('--group', metavar='REGEX', help='finds the group in a path, as its first (...) or all')
    add('--seed', type=int, default=0, help='another seed, another split')
    add('--classes', type=Path, metavar='FILE', help='class names in the order of their labels')
    add('--out', type=Path, metavar='DIR', help='where to write (default: FOLDER)')
    add('--overwrite', action='store_true', help='replace lists that say something else')
    args = parser.parse_args(argv)
    if not 0 <= args.val < 1:
        parser.error(f'--val {args.val} must be at least 0 and below 1')
    if args.csv and args.split_folders:
        parser.error('--csv and --split-folders exclude each other: use the column `split`')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse and write."""
    args = parse_args(argv, prog)
    check_files(args, 'folder')
    from mmaction.data_preparation.file_lists import build_lists

    with user_errors(setup=True):
        build_lists(
            args.folder,
            args.out or args.folder,
            table=args.csv,
            rawframes=args.rawframes,
            split_folders=args.split_folders,
            val=args.val,
            group=args.group,
            seed=args.seed,
            classes=args.classes,
            overwrite=args.overwrite,
        )
