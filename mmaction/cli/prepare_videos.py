"""Re-encode videos so that training reads them fast: small pictures, many key frames.

    python tools/data/prepare_videos.py FOLDER OUT [--short-side 256]

Every video under FOLDER becomes OUT/same/path.mp4: H.264 without sound, upright, with the
same frames at the same times. Run again, it resumes where it stopped. Files that cannot be
read are listed in OUT/failures.txt, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmaction.utils.cli import Parser, add_job_options, check_files, user_errors
from mmaction.utils.work_share import add_ray_option, add_share_option

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('folder', type=Path, help='folder of the videos')
    add('out', type=Path, help='folder to write to')
    add('--short-side', type=int, default=256, metavar='PIXELS', help='%(default)s; or 320')
    add('--key-interval', type=int, default=16, metavar='FRAMES', help='%(default)s')
    add('--crf', type=int, default=20, help='quality, 0 (best) to 51 (%(default)s)')
    add('--preset', default='fast', help="x264's effort, ultrafast to veryslow (%(default)s)")
    add('--overwrite', action='store_true', help='make all of them again')
    add_job_options(parser, timeout=3600)
    add_share_option(parser)
    add_ray_option(parser)
    args = parser.parse_args(argv)
    for name, value, least in (
        ('--short-side', args.short_side, 16),
        ('--key-interval', args.key_interval, 1),
        ('--crf', args.crf, 0),
    ):
        if value < least:
            parser.error(f'{name} {value} must be at least {least}')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, prepare, exit."""
    args = parse_args(argv, prog)
    check_files(args, 'folder')
    from mmaction.data_preparation.reencode import Settings, reencode_folder

    with user_errors(setup=True):
        whole = reencode_folder(
            args.folder,
            args.out,
            Settings(args.short_side, args.key_interval, args.crf, args.preset),
            workers=args.workers,
            timeout=args.timeout,
            overwrite=args.overwrite,
            share=args.shard,
            ray=args.ray,
        )
        sys.exit(0 if whole else 1)
