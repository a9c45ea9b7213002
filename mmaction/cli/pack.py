"""Pack the videos of a list into tar files, which disks and object stores read faster.

    mmaction pack LIST OUT --size 512MB
    mmaction pack LIST s3://bucket/kinetics --shard 0/16

OUT gets clips-000000.tar, ... in WebDataset's naming and index.npz, which `ShardDataset` reads:
the clips keep the order of the list. Run again, it resumes where it stopped. Clips that cannot
be read stay in the index as unreadable; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys

from mmaction.utils.cli import Parser, check_files, user_errors
from mmaction.utils.work_share import add_share_option

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    from mmaction.utils.remote import parse_size

    def size(text: str) -> int:
        try:
            return parse_size(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('list', help='annotation list of videos')
    add('out', help='folder to write to, or its address (s3://...)')
    add('--data-prefix', metavar='DIR', help='folder of the videos (default: that of the list)')
    add('--size', type=size, default='512MB', help='bytes of a tar file (%(default)s)')
    add('--multi-class', action='store_true', help='the list has any number of labels on a line')
    add('--delimiter', default=' ', help='what parts path and label')
    add_share_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, pack, exit."""
    args = parse_args(argv, prog)
    check_files(args, 'list')
    from mmaction.data_preparation.packing import PackRequest, pack_list

    with user_errors(setup=True):
        failed = pack_list(
            PackRequest(
                args.list,
                args.out,
                prefix=args.data_prefix,
                size=args.size,
                multi_class=args.multi_class,
                delimiter=args.delimiter,
                share=args.shard,
            )
        )
    sys.exit(1 if failed else 0)
