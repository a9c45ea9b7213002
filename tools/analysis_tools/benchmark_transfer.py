"""CPU time that a clip takes on its way from the process that reads it to the one that trains.

    python tools/analysis_tools/benchmark_transfer.py [--shape 3 32 224 224]

`used again` is what a worker does: the clip is written into a memory that nobody holds any more,
which the other side maps and reads; `new memory` takes a new one for each clip. `kept mapped` is
one that both sides keep mapped, and `written in place` one that the last transform of the pipeline
writes into: what reading the clip takes alone. `small tensors` are samples of a clip of 38 kB and a
label that a loader's worker sends, in torch's way and, as runs do, as bytes.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from mmaction.utils.cli import Parser
from mmaction.utils.memory_files import MemoryFiles, map_memory
from mmaction.utils.small_tensors import hand_over_as_bytes


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__)
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

    def written_by(memories: MemoryFiles) -> None:
        file = memories.write(clip.untyped_storage())
        arrived.copy_(mapped(file))
        os.close(file)

    kept = mapped(MemoryFiles(0).write(clip.untyped_storage()))

    def kept_mapped() -> None:
        kept.copy_(clip)
        arrived.copy_(kept)

    return {
        'new memory': partial(written_by, MemoryFiles(0)),
        'used again': partial(written_by, MemoryFiles()),
        'kept mapped': kept_mapped,
        'written in place': lambda: arrived.copy_(kept),
    }


def samples(indices: list[int]) -> list[tuple[torch.Tensor, ...]]:
    """A clip and a label for each index."""
    return [(torch.zeros(3, 8, 40, 40, dtype=torch.uint8), torch.tensor([i])) for i in indices]


def milliseconds(call: Callable[[], object], count: int = 50) -> float:
    """CPU time of a call."""
    call()
    start = time.process_time()
    for _ in range(count):
        call()
    return 1e3 * (time.process_time() - start) / count


def sent_by_worker(start: Callable[[int], None] | None, count: int) -> float:
    """CPU milliseconds, of worker and receiver together, of a sample of two small tensors.

    Args:
        start: What the worker calls first.
        count: Number of samples, in batches of 16.
    """
    before = sum(os.times()[:4])
    indices: Any = range(count)
    for _ in DataLoader(indices, 16, num_workers=1, collate_fn=samples, worker_init_fn=start):
        pass
    return 1e3 * (sum(os.times()[:4]) - before) / count


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
    print('small tensors')
    for name, start in (('by torch', None), ('as bytes', hand_over_as_bytes)):
        times = [sent_by_worker(start, 320 * args.rounds) for _ in range(args.rounds)]
        print(f'{name:<18}{statistics.median(times):>8.2f} ms')


if __name__ == '__main__':
    main()
