"""Bring together what several machines have done of one work (--shard I/N).

    mmaction merge FOLDER

FOLDER is the one that "mmaction pack", "mmaction predict --out", "mmaction features --out",
prepare_videos, check_videos or "mmaction prepare --check" wrote to. Shares and items that are
missing or there twice are errors; shards and features get one index, and lists of failures become
one.
"""

from __future__ import annotations

import argparse

from mmaction.utils.cli import Parser, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument('folder', help='folder of the shares, or its address (s3://...)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, merge, print."""
    args = parse_args(argv, prog)
    check_files(args, 'folder')
    from mmaction.data_preparation.shares import merge_shares

    with user_errors(setup=True):
        for line in merge_shares(args.folder):
            print(line)
