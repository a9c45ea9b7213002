"""Predict the clips/s of N nodes, and what bounds it, from rates that were measured.

    python tools/analysis_tools/simulate_cluster.py --nodes 1 2 4 8 --step 0.42 --batch 8 \\
        --parameters 21.8e6 --loader 32 --workers 8 --storage 3e9 --clip-bytes 5e5
    python tools/analysis_tools/simulate_cluster.py --check

A step takes the longest of four: the model, with what of the all-reduce does not hide behind the
backward pass; the workers, which read the next batch meanwhile; the cores of a node, which its
processes and their workers share; and the storage, which all nodes share. An all-reduce of a ring
sends 2 (n - 1) / n times the gradients over the slowest link, in 2 (n - 1) rounds. --check measures
the parts on this machine, each by itself, and holds the prediction against 1 and 2 processes that
do all of it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mmaction.utils.cli import Parser, available_cores, user_errors


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
        cores: Cores of a node, of hyper-threads the physical ones; 0 is no bound.
        step_cpu: Seconds of cores of a step of one process, reading not counted. On a GPU it is
            the thread that starts the kernels.
        clip_cpu: Seconds of cores that reading a clip takes.
        reduce_cpu: Seconds of cores of an all-reduce of one process, where the CPU does it.
        bucket_bytes: Gradients that are sent together. Those of the last bucket are ready when
            the backward pass is over, so nothing hides them (25 MiB in DistributedDataParallel).
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
    cores: float = 0.0
    step_cpu: float = 0.0
    clip_cpu: float = 0.0
    reduce_cpu: float = 0.0
    bucket_bytes: float = 25 * 2**20


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
    reduce = all_reduce_seconds(rates, nodes)
    last = min(1.0, rates.bucket_bytes / rates.gradient_bytes)
    exposed = max(last * reduce, reduce - rates.step * rates.backward)
    seconds = {
        'model': rates.step,
        'network': rates.step + exposed,
        'loader': rates.batch / (rates.loader * rates.workers),
    }
    if rates.cores:
        of_process = rates.step_cpu + rates.reduce_cpu + rates.batch * rates.clip_cpu
        seconds['cores'] = rates.gpus * of_process / rates.cores
    if rates.storage:
        seconds['storage'] = rates.batch * processes * rates.clip_bytes / rates.storage
    bound = max(seconds, key=lambda part: seconds[part])
    rate = processes * rates.batch / seconds[bound]
    if bound == 'network' and exposed < 0.05 * rates.step:
        bound = 'model'
    return rate, bound, seconds


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__)
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
    add('--cores', type=float, default=0.0, help='cores of a node (0: no bound)')
    add('--check', action='store_true', help='hold it against 1 and 2 processes of this machine')
    args = parser.parse_args(argv)
    if min(args.nodes) < 1 or min(args.step, args.batch, args.loader, args.workers, args.gpus) <= 0:
        parser.error('nodes, step, batch, gpus, loader and workers must be positive')
    return args


def check() -> None:
    """Print predicted and measured rates of 1 and 2 processes, by three ways of reading."""
    import benchmark_shards  # noqa: F401
    import cluster_rates as measured

    # Imported once, before processes are forked.
    import mmaction.datasets  # noqa: F401

    size = measured.gradient_bytes()
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder)
        measured.write_clips(videos)
        reading = {name: measured.reading_cost(name, videos) for name in measured.READINGS}
        for name, cost in reading.items():
            print(f'reading {name!r} ({measured.READINGS[name]}): {1e3 * cost.seconds:.1f} ms a '
                  f'clip by one worker, {1e3 * cost.cpu:.1f} ms of cores')  # fmt: skip
        alone, together = (measured.step_cost(processes, videos) for processes in (1, 2))
        # What counts as two cores may be two threads of one, which two processes then share.
        cores = 2 * alone.seconds / together.seconds
        reduce = measured.all_reduce_cost(2)
        print(
            f'step: {1e3 * alone.seconds:.0f} ms; of two processes at once '
            f'{1e3 * together.seconds:.0f} ms, so {available_cores()} cores compute '
            f'like {cores:.2f}; all-reduce: {1e3 * reduce.seconds:.0f} ms, {1e3 * reduce.cpu:.0f} '
            'ms of cores'
        )
        rates = Rates(
            step=alone.seconds,
            batch=measured.BATCH,
            gradient_bytes=size,
            workers=1,
            intra=size / reduce.seconds,
            latency=0.0,
            cores=cores,
            step_cpu=alone.cpu,
        )
        for processes in (1, 2):
            for name, cost in reading.items():
                predicted, bound, _ = predict(
                    replace(
                        rates,
                        gpus=processes,
                        loader=1 / cost.seconds,
                        clip_cpu=cost.cpu,
                        reduce_cpu=reduce.cpu if processes > 1 else 0.0,
                    ),
                    nodes=1,
                )
                whole = measured.step_cost(processes, videos, name, communicate=True)
                found = processes * measured.BATCH / whole.seconds
                print(
                    f'{processes} processes, reading {name!r}: predicted {predicted:.1f} clips/s '
                    f'(bound by the {bound}), measured {found:.1f}, ratio {found / predicted:.2f}'
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
            cores=args.cores,
            step_cpu=args.step,
            clip_cpu=1 / args.loader,
        )
        single = predict(rates, 1)[0]
        print(f'{"nodes":>5} {"clips/s":>9} {"of linear":>9}  bound by   seconds of a step')
        for nodes in args.nodes:
            rate, bound, seconds = predict(rates, nodes)
            parts = ', '.join(f'{name} {value:.3f}' for name, value in seconds.items() if value)
            print(f'{nodes:5} {rate:9.1f} {rate / single / nodes:9.2f}  {bound:9}  {parts}')


if __name__ == '__main__':
    main()
