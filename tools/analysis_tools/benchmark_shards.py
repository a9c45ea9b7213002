"""Measure shards: clips/s of files, local shards and shards on S3, and the index of a million.

    python tools/analysis_tools/benchmark_shards.py --clips 200 --workers 2
    python tools/analysis_tools/benchmark_shards.py --entries 1000000 --workers 4
    python tools/analysis_tools/benchmark_shards.py --randomness

The first command writes small videos, packs them, and reads all three in turns, with the time of
decoding alone for comparison; S3 is a local server of moto (skipped where that is not installed),
so its rates tell what the reader costs, not what a network does. The second writes an index of so
many entries and tells the memory of all workers together and the time to the first batch. The third
tells how random batches are that are read from a few shards at a time.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmaction.utils.cli import Parser, user_errors

PIPELINE: list[Any] = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(112, 112), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
ROUNDS = 3


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add('--clips', type=int, default=200, help='videos to write and read (%(default)s)')
    add('--workers', type=int, default=2, help='processes that read (%(default)s)')
    add('--entries', type=int, help='measure an index of so many entries instead')
    add('--randomness', action='store_true', help='measure the order of BlockSampler instead')
    return parser.parse_args(argv)


def write_videos(folder: Path, count: int) -> Path:
    """Videos of 320 x 240 pixels and 100 frames, and their list."""
    import av
    import numpy as np

    draws = np.random.default_rng(0)
    kinds = []
    for kind in range(10):
        path = folder / f'kind{kind}.mp4'
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('libx264', rate=25, options={'g': '16', 'bf': '0'})
            stream.width, stream.height, stream.pix_fmt = 320, 240, 'yuv420p'
            picture = draws.integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            for frame in range(100):
                shown = av.VideoFrame.from_ndarray(np.roll(picture, 3 * frame, 1), format='rgb24')
                container.mux(stream.encode(shown))
            container.mux(stream.encode())
        kinds.append(path.read_bytes())
        path.unlink()
    lines = []
    for number in range(count):
        (folder / f'{number:05}.mp4').write_bytes(kinds[number % 10])
        lines.append(f'{number:05}.mp4 {number % 10}\n')
    path = folder / 'list.txt'
    path.write_text(''.join(lines))
    return path


@contextmanager
def s3_bucket() -> Iterator[str | None]:
    """The address of a bucket of a local server; None where moto is not installed."""
    try:
        import boto3
        import s3fs  # noqa: F401
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    logging.getLogger('werkzeug').setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f'http://{host}:{port}',
        AWS_ACCESS_KEY_ID='x',
        AWS_SECRET_ACCESS_KEY='x',
        AWS_DEFAULT_REGION='us-east-1',
    )
    boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL']).create_bucket(Bucket='bench')
    try:
        yield 's3://bench'
    finally:
        server.stop()


def batches_of(dataset: Any, workers: int) -> Iterator[dict[str, Any]]:
    """Batches of 8 clips in the order of training; the workers start at once."""
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    from mmaction.datasets import EpochSampler
    from mmaction.utils.small_tensors import hand_over_as_bytes

    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=8,
        sampler=EpochSampler(dataset, seed=0),
        num_workers=workers,
        collate_fn=pseudo_collate,
        worker_init_fn=hand_over_as_bytes,
    )
    return iter(loader)


def rate(dataset: Any, workers: int) -> float:
    """Clips per second of a loader, from its second batch on."""
    batches = batches_of(dataset, workers)
    next(batches)
    start, clips = time.perf_counter(), 0
    for batch in batches:
        clips += len(batch['inputs'])
    return clips / (time.perf_counter() - start)


def decode(path: str) -> None:
    """Open a file and decode the frames of a clip."""
    import numpy as np

    from mmaction.datasets.decoders import PyAVReader

    reader = PyAVReader(path)
    reader.get_batch(np.arange(20, 36, 2))
    reader.close()


def decoding_rate(folder: Path, count: int, workers: int) -> float:
    """Clips per second of so many processes that open files, decode, and do nothing else."""
    paths = [str(folder / f'{number:05}.mp4') for number in range(count)]
    with multiprocessing.get_context('fork').Pool(workers) as pool:
        pool.map(decode, paths[:workers], 1)
        start = time.perf_counter()
        pool.map(decode, paths, 4)
        return count / (time.perf_counter() - start)


def measure_rates(count: int, workers: int) -> None:
    """Print the rates of files, shards and remote shards, taken in turns."""
    from mmaction.data_preparation.packing import PackRequest, pack_list
    from mmaction.datasets import ShardDataset, VideoDataset

    with tempfile.TemporaryDirectory() as name, s3_bucket() as bucket:
        folder = Path(name)
        listed = write_videos(folder, count)
        pack_list(PackRequest(str(listed), str(folder / 'packed'), size=8_000_000))
        cases = {
            'files': VideoDataset(str(listed), PIPELINE, dict(video=name)),
            'local shards': ShardDataset(str(folder / 'packed'), PIPELINE),
        }
        if bucket is not None:
            pack_list(PackRequest(str(listed), f'{bucket}/packed', size=8_000_000))
            cases['S3 shards, by ranges'] = ShardDataset(f'{bucket}/packed', PIPELINE)
        found: dict[str, list[float]] = {key: [] for key in ('decoding alone', *cases)}
        for _ in range(ROUNDS):
            found['decoding alone'].append(decoding_rate(folder, count, workers))
            for key, dataset in cases.items():
                found[key].append(rate(dataset, workers))
        if bucket is not None:
            os.environ['MMACTION_CACHE'] = str(folder / 'cache')
            key = 'S3 shards, cached'
            found[key] = [rate(cases['S3 shards, by ranges'], workers) for _ in range(ROUNDS)]
            del os.environ['MMACTION_CACHE']
    base = sorted(found['decoding alone'])[ROUNDS // 2]
    print(f'{count} clips of 320 x 240, {workers} workers, median (least to most) of {ROUNDS}')
    for key, rates in found.items():
        low, middle, high = sorted(rates)[0], sorted(rates)[len(rates) // 2], sorted(rates)[-1]
        share = '' if key == 'decoding alone' else f', {middle / base:.2f} of decoding'
        print(f'  {key:22} {middle:7.1f} clips/s ({low:.1f} to {high:.1f}){share}')


def proportional_memory(process: int, name: str) -> int:
    """Bytes of a process's mappings of a file; what several share is divided among them."""
    total, inside = 0, False
    for line in Path(f'/proc/{process}/smaps').read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if '-' in first and not first.endswith(':'):
            inside = line.endswith(name)
        elif inside and first == 'Pss:':
            total += 1024 * int(line.split()[1])
    return total


def measure_index(entries: int, workers: int) -> None:
    """Print memory and time of an index of many entries, all of which are the same clip."""
    from mmaction.data_preparation.packing import PackRequest, pack_list
    from mmaction.datasets import ShardDataset
    from mmaction.datasets.shard_index import ShardIndex, write_index
    from mmaction.engine.runner.data_check import check_splits

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack_list(PackRequest(str(write_videos(folder, 1)), str(folder / 'packed')))
        path = folder / 'packed' / 'index.npz'
        one = ShardIndex(path)[0]
        names = (f'abseiling/{"x" * 11}_{n:06}_{n + 10:06}.mp4' for n in range(entries))
        start = time.perf_counter()
        write_index(
            path,
            ['clips-000000.tar'],
            (one._replace(name=each, labels=[n % 400]) for n, each in enumerate(names)),
        )
        print(f'index of {entries} entries: {path.stat().st_size / 1e6:.1f} MB, written in '
              f'{time.perf_counter() - start:.1f} s')  # fmt: skip
        start = time.perf_counter()
        dataset: Any = ShardDataset(str(folder / 'packed'), PIPELINE, decode_timeout=None)
        check_splits(dict(train=dataset), 400)
        batches = batches_of(dataset, workers)
        next(batches)
        print(f'time to the first batch: {time.perf_counter() - start:.2f} s')
        processes = [os.getpid(), *(each.pid or 0 for each in multiprocessing.active_children())]
        for index in range(0, entries, 7):  # all pages of the index
            dataset.index[index]
        shared = sum(proportional_memory(each, 'index.npz') for each in processes)
        print(
            f'memory of the index in {workers} workers and the main process together: '
            f'{shared / 1e6:.1f} MB'
        )
        print(json.dumps(dict(entries=entries, workers=workers, index_bytes=shared)))
        del batches


def measure_randomness(clips: int = 240_000, block: int = 410, batch: int = 512) -> None:
    """Print how random the batches of `BlockSampler` are, of lists of 400 classes."""
    import numpy as np

    from mmaction.datasets import BlockSampler
    from mmaction.datasets.samplers import order_randomness

    by_class = np.arange(clips) * 400 // clips
    shuffled = np.random.default_rng(1).permutation(by_class)
    print(f'{clips} clips, {block} a shard, batches of {batch}; 1 is a full shuffle')
    for window in (1, 8, 32, 128):
        sampler = BlockSampler(range(clips), window=window, block=block, seed=0)
        order = [int(key) for key in sampler]
        sorted_list = order_randomness(np.array(order), by_class, batch)
        mixed = order_randomness(np.array(order), shuffled, batch)
        print(
            f'  {window:4} shards open: spread in the list {sorted_list["spread"]:.2f}, classes in '
            f'a batch {sorted_list["classes"]:.2f} (list by class), {mixed["classes"]:.2f} (list '
            'shuffled before packing)'
        )


def main(argv: list[str] | None = None) -> None:
    """Parse, measure."""
    args = parse_args(argv)
    with user_errors(setup=True):
        if args.randomness:
            measure_randomness()
        elif args.entries:
            measure_index(args.entries, args.workers)
        else:
            measure_rates(args.clips, args.workers)


if __name__ == '__main__':
    main()
