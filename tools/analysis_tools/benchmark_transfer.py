"""CPU time that a clip takes on its way from the process that reads it to the one that trains.

    python tools/analysis_tools/benchmark_transfer.py [--shape 3 32 224 224]

`new memory` is what a worker does: the clip is written into a memory of its own, which the other
side maps and reads. `reused memory` is a ring of buffers that both sides keep mapped, and
`written in place` one that the last transform of the pipeline writes into: what reading the clip
takes alone.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Callable

import torch

from mmaction.utils.cli import Parser
from mmaction.utils.subprocess_call import map_memory, memory_file


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[3, 32, 224, 224], help='of a clip (%(default)s)'
    )
    parser.add_argument('--rounds', type=int, default=5, help='of each, in turns (%(default)s)')
    args = parser.parse_args(argv)
    if min(*args.shape, args.rounds) < 1:
        parser.error('--shape and --rounds are at least 1')
    return args


def ways(clip: torch.Tensor, arrived: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Functions that bring a clip, uint8, over to where it has arrived, by name."""

    def mapped(handle: int) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8).set_(map_memory(handle))

    kept = mapped(memory_file(clip.untyped_storage()))

    def new_memory() -> None:
        file = memory_file(clip.untyped_storage())
        arrived.copy_(mapped(file))
        os.close(file)

    def reused_memory() -> None:
        kept.copy_(clip)
        arrived.copy_(kept)

    return {
        'new memory': new_memory,
        'reused memory': reused_memory,
        'written in place': lambda: arrived.copy_(kept),
    }


def milliseconds(call: Callable[[], object], count: int = 50) -> float:
    """CPU time of a call."""
    call()
    start = time.process_time()
    for _ in range(count):
        call()
    return 1e3 * (time.process_time() - start) / count


def main(argv: list[str] | None = None) -> None:
    """Measure each in turns, and print the medians."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    size = math.prod(args.shape)
    clip = torch.randint(0, 256, (size,), dtype=torch.uint8)
    found = ways(clip, torch.zeros_like(clip))
    spent: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(args.rounds):
        for name in random.sample(list(found), len(found)):
            spent[name].append(milliseconds(found[name]))
    print(f'a clip of {size / 1e6:.2f} MB, CPU time of one thread')
    for name, times in spent.items():
        print(f'{name:<18}{statistics.median(times):>8.2f} ms')


if __name__ == '__main__':
    main()
