"""Predict the clips/s of N nodes, and what bounds it, from rates that were measured.

    python tools/analysis_tools/simulate_cluster.py --nodes 1 2 4 8 --step 0.42 --batch 8 \\
        --parameters 21.8e6 --loader 32 --workers 8 --storage 3e9 --clip-bytes 5e5
    python tools/analysis_tools/simulate_cluster.py --check

A step takes the longest of three: the model, with what of the all-reduce does not hide behind the
backward pass; the workers, which read the next batch meanwhile; and the storage, which all nodes
share. An all-reduce of a ring sends 2 (n - 1) / n times the gradients over the slowest link, in
2 (n - 1) rounds. --check trains a small model with 1 and 2 processes here, and holds the predicted
rate against the measured one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mmaction.utils.cli import Parser, user_errors


@dataclass(frozen=True)
class Rates:
    """What was measured of one process, of a node and of what all nodes share.

    Args:
        step: Seconds of a training step of one process alone, reading not counted.
        backward: Share of the step that is backward, behind which an all-reduce can hide.
        batch: Clips of a step of one process.
        gradient_bytes: Bytes that an all-reduce carries.
        gpus: Processes of a node.
        loader: Clips/s that one worker reads.
        workers: Workers of a process.
        intra: Bytes/s between processes of a node, each way.
        inter: Bytes/s between nodes, each way, of all processes of a node together.
        latency: Seconds of one round of an all-reduce.
        storage: Bytes/s that the storage gives to all nodes together; 0 is no bound.
        clip_bytes: Bytes of a clip in storage.
    """

    step: float
    batch: int
    gradient_bytes: float
    backward: float = 0.6
    gpus: int = 8
    loader: float = 32.0
    workers: int = 8
    intra: float = 200e9
    inter: float = 25e9
    latency: float = 20e-6
    storage: float = 0.0
    clip_bytes: float = 5e5


def all_reduce_seconds(rates: Rates, nodes: int) -> float:
    """Seconds of an all-reduce of the gradients by a ring through all processes.

    Source of the count of bytes and rounds: the ring all-reduce of Patarasuk and Yuan, 2009,
    doi:10.1016/j.jpdc.2008.09.002.
    """
    processes = nodes * rates.gpus
    if processes == 1:
        return 0.0
    # Between nodes one link of the ring leaves each node: it has the node's whole rate.
    link = rates.inter if nodes > 1 else rates.intra
    carried = 2 * (processes - 1) / processes * rates.gradient_bytes
    return carried / link + 2 * (processes - 1) * rates.latency


def predict(rates: Rates, nodes: int) -> tuple[float, str, dict[str, float]]:
    """Clips/s of a number of nodes.

    Returns:
        The rate, what bounds it, and the seconds of a step that each part asks for.
    """
    processes = nodes * rates.gpus
    hidden = rates.step * rates.backward
    exposed = max(0.0, all_reduce_seconds(rates, nodes) - hidden)
    seconds = {
        'model': rates.step,
        'network': rates.step + exposed if exposed else 0.0,
        'loader': rates.batch / (rates.loader * rates.workers),
    }
    if rates.storage:
        seconds['storage'] = rates.batch * processes * rates.clip_bytes / rates.storage
    bound = max(seconds, key=lambda part: seconds[part])
    return processes * rates.batch / seconds[bound], bound, seconds


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--nodes', type=int, nargs='+', default=[1, 2, 4, 8], metavar='N', help='(1 2 4 8)')
    add('--step', type=float, default=0.42, help='seconds of a step without reading (%(default)s)')
    add('--backward', type=float, default=0.6, help='share of it that is backward (%(default)s)')
    add('--batch', type=int, default=8, help='clips of a step of a process (%(default)s)')
    add('--parameters', type=float, default=21.8e6, help='weights of the model (%(default)g)')
    add('--gpus', type=int, default=8, help='processes of a node (%(default)s)')
    add('--loader', type=float, default=32.0, help='clips/s of a worker (%(default)s)')
    add('--workers', type=int, default=8, help='workers of a process (%(default)s)')
    add('--intra', type=float, default=200e9, help='bytes/s within a node (%(default)g)')
    add('--inter', type=float, default=25e9, help='bytes/s between nodes (%(default)g)')
    add('--storage', type=float, default=0.0, help='bytes/s for all nodes (0: no bound)')
    add('--clip-bytes', type=float, default=5e5, help='bytes of a clip (%(default)g)')
    add('--check', action='store_true', help='hold it against 1 and 2 processes of this machine')
    args = parser.parse_args(argv)
    if min(args.nodes) < 1 or min(args.step, args.batch, args.loader, args.workers, args.gpus) <= 0:
        parser.error('nodes, step, batch, gpus, loader and workers must be positive')
    return args


def _train(rank: int, processes: int, folder: str, delay: float, width: int, result: str) -> None:
    """Some steps of DistributedDataParallel on the CPU, in a process of its own."""
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, Dataset

    class Clips(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 24 * 4

        def __getitem__(self, index: int) -> torch.Tensor:
            time.sleep(delay)
            return torch.randn(width)

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}', rank=rank, world_size=processes)
    model: nn.Module = nn.Sequential(*(nn.Linear(width, width) for _ in range(4)))
    if processes > 1:
        model = DistributedDataParallel(model)
    times = []
    for batch in DataLoader(Clips(), 4, num_workers=1, multiprocessing_context='fork'):
        model(batch.repeat(64, 1)).sum().backward()
        times.append(time.perf_counter())
    seconds = sorted(b - a for a, b in itertools.pairwise(times[4:]))
    if not rank:
        Path(result).write_text(str(seconds[len(seconds) // 2]))
    dist.destroy_process_group()


def measured_step(processes: int, delay: float, width: int = 1024) -> float:
    """Median seconds of a step of so many processes, each clip taking `delay` to read."""
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        result = os.path.join(folder, 'seconds')
        store = os.path.join(folder, 'store')
        multiprocessing.start_processes(
            _train,
            args=(processes, store, delay, width, result),
            nprocs=processes,
            start_method='spawn',
        )
        return float(Path(result).read_text())


def _all_reduce_rate(rank: int, folder: str, count: int, result: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}', rank=rank, world_size=2)
    gradients, times = torch.zeros(count), []
    for _ in range(8):
        start = time.perf_counter()
        dist.all_reduce(gradients)
        times.append(time.perf_counter() - start)
    if not rank:
        Path(result).write_text(str(4 * count / sorted(times)[4]))
    dist.destroy_process_group()


def check() -> None:
    """Print predicted and measured rates of 1 and 2 processes, with fast and slow reading."""
    import torch.multiprocessing as multiprocessing

    width = 1024
    parameters = 4 * (width * width + width)
    with tempfile.TemporaryDirectory() as folder:
        result = os.path.join(folder, 'rate')
        multiprocessing.start_processes(
            _all_reduce_rate,
            args=(os.path.join(folder, 'store'), parameters, result),
            nprocs=2,
            start_method='spawn',
        )
        link = float(Path(result).read_text())
    alone = measured_step(1, 0.0, width)
    print(f'measured: step {1e3 * alone:.1f} ms alone, all-reduce {link / 1e6:.0f} MB/s')
    for delay in (0.0, 0.1):
        for processes in (1, 2):
            rates = Rates(
                step=alone,
                batch=4,
                gradient_bytes=4 * parameters,
                gpus=processes,
                loader=1 / delay if delay else 1e9,
                workers=1,
                intra=link,
            )
            rate, bound, _ = predict(rates, 1)
            measured = 4 * processes / measured_step(processes, delay, width)
            print(
                f'{processes} processes, reading {delay:g} s a clip: predicted {rate:.1f} clips/s '
                f'(bound by the {bound}), measured {measured:.1f}, ratio {measured / rate:.2f}'
            )


def main(argv: list[str] | None = None) -> None:
    """Parse, predict, print."""
    args = parse_args(argv)
    with user_errors(setup=True):
        if args.check:
            check()
            return
        rates = Rates(
            step=args.step,
            batch=args.batch,
            gradient_bytes=4 * args.parameters,
            backward=args.backward,
            gpus=args.gpus,
            loader=args.loader,
            workers=args.workers,
            intra=args.intra,
            inter=args.inter,
            storage=args.storage,
            clip_bytes=args.clip_bytes,
        )
        single = predict(rates, 1)[0]
        print(f'{"nodes":>5} {"clips/s":>9} {"of linear":>9}  bound by   seconds of a step')
        for nodes in args.nodes:
            rate, bound, seconds = predict(rates, nodes)
            parts = ', '.join(f'{name} {value:.3f}' for name, value in seconds.items() if value)
            print(f'{nodes:5} {rate:9.1f} {rate / single / nodes:9.2f}  {bound:9}  {parts}')


if __name__ == '__main__':
    main()
