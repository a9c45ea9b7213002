"""The share of one machine, or one job of an array, in work that others do the rest of."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    'WorkShare',
    'add_ray_option',
    'add_share_option',
    'share_of_array',
    'task_of_step',
    'with_rank',
]

Item = TypeVar('Item')


@dataclass(frozen=True, order=True)
class WorkShare:
    """Share `index` of `count`; the shares of all indices hold everything once.

    Args:
        index: From 0 on.
        count: Number of shares.
    """

    index: int = 0
    count: int = 1

    @property
    def is_all(self) -> bool:
        """Whether there is no other share."""
        return self.count == 1

    @property
    def label(self) -> str:
        """What names of files say of it: '003-of-016'."""
        return f'{self.index:03}-of-{self.count:03}'

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th of some items, which have to be the same for all shares."""
        return items[self.index :: self.count]

    def stretch(self, total: int) -> range:
        """The positions of one piece of `total`, for work that keeps its order."""
        ends = [total * i // self.count for i in (self.index, self.index + 1)]
        return range(*ends)


def parse_share(text: str) -> WorkShare:
    """Read 'I/N', I from 0 to N - 1."""
    if text == _OF_ARRAY:
        return share_of_array()
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if match is None or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f'{text} is not I/N with I from 0 to N - 1, such as 0/8')
    return WorkShare(int(match[1]), int(match[2]))


_OF_ARRAY = 'array'


def share_of_array() -> WorkShare:
    """The share that a job of a Slurm array has by its number; everything outside of one.

    Raises:
        argparse.ArgumentTypeError: The array may be a part of another: jobs of it that have
            failed and run again. Theirs are the shares of the whole array.
    """
    names = [f'SLURM_ARRAY_TASK_{name}' for name in ('ID', 'MIN', 'MAX', 'COUNT')]
    if not all(name in os.environ for name in names):
        return WorkShare()
    number, first, last, count = (int(os.environ[name]) for name in names)
    if first not in (0, 1) or last - first + 1 != count or count == 1:
        raise argparse.ArgumentTypeError(
            f'job {number} of an array that is not 0-N or 1-N may be one of a larger array that is '
            'run again, and has to be told its share: of --array=0-15 '
            '--shard $SLURM_ARRAY_TASK_ID/16, of --array=1-16 '
            '--shard $((SLURM_ARRAY_TASK_ID - 1))/16'
        )
    return WorkShare(number - first, count)


def task_of_step() -> tuple[int, int] | None:
    """Number of this task, and number of tasks, where srun has started several; else None.

    A shell that was asked for more tasks than itself (`srun --ntasks 4 --pty bash`) is the only
    one that lives, and hands its numbers to all that is started in it.
    """
    tasks = int(os.environ.get('SLURM_STEP_NUM_TASKS', '1'))
    if tasks == 1 or 'SLURM_PROCID' not in os.environ or _has_terminal():
        return None
    return int(os.environ['SLURM_PROCID']), tasks


def _has_terminal() -> bool:
    """Whether a terminal controls this process, as never a task that srun has started."""
    if sys.platform == 'win32':
        return False
    try:
        os.close(os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def with_rank(share: WorkShare) -> WorkShare:
    """The share of this process where torchrun or srun started several, each with its rank."""
    place = task_of_step()
    if 'RANK' in os.environ and 'WORLD_SIZE' in os.environ:
        place = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    if place is None:
        return share
    rank, ranks = place
    return WorkShare(share.index * ranks + rank, share.count * ranks)


def add_share_option(parser: argparse._ActionsContainer) -> None:
    """Add `--shard`."""
    parser.add_argument(
        '--shard',
        type=parse_share,
        default=_OF_ARRAY,
        metavar='I/N',
        help='do share I (from 0) of N, with others on other machines doing the rest; in a job '
        'of a Slurm array taken from its number. "mmaction merge" brings the shares together',
    )


def add_ray_option(parser: argparse._ActionsContainer) -> None:
    """Add `--ray`."""
    parser.add_argument(
        '--ray',
        metavar='ADDRESS',
        help='do the work on a Ray cluster ("auto", or the address of its head node); all nodes '
        'see the files under the same paths',
    )
