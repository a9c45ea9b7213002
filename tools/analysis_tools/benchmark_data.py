"""Measure the training pipeline: clips per second and core, stage by stage.

    python tools/analysis_tools/benchmark_data.py LIST [LIST ...] [--config CONFIG] [--repeats 4]

One worker reads the clips of each list as in training. The stages are timed inside it,
and the main process times the clips as they arrive, so decoding alone and the whole
pipeline come from one run. Of several lists (the same clips encoded in two ways, say)
each is compared with the first.

With `--against`, plain readers of the same clips take turns with the pipeline, and CPU time is
compared instead. All of them read the same frames, those that the pipeline draws. The pipeline
runs in a reading process, as in training (on Linux), which keeps freed memory; plain readers run
as in a script, or keep it, too, with `--keep-memory`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors
from mmaction.utils.memory import keep_freed_memory, resident_memory

CONVERSION = ', RGB'  # the conversion, crops and resizes that stages before have put off
KINETICS = Path(__file__).parents[2] / 'configs/_base_/datasets/kinetics400.py'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('lists', nargs='+', metavar='LIST', help='annotation list: `path label`')
    parser.add_argument(
        '--config',
        default=str(KINETICS),
        help='config whose training pipeline and kind of dataset are measured; '
        'by default the Kinetics pipeline, 32 frames of every 2nd at 224x224',
    )
    parser.add_argument('--data-prefix', help='folder of the clips; by default that of the list')
    parser.add_argument('--clips', type=int, default=40, help='clips to read from each list')
    parser.add_argument(
        '--repeats',
        type=int,
        default=0,
        help='also measure repeated augmentation, with this many clips per opened file',
    )
    parser.add_argument(
        '--against',
        nargs='+',
        choices=['decord', 'torchcodec', 'in_decoder', 'decoding'],
        help='compare the CPU time of a clip with that of a few plain lines with this decoder '
        'and OpenCV, with DecordDecode(in_decoder=True), or with decoding the pictures needed '
        'of an open file and nothing else',
    )
    parser.add_argument(
        '--keep-memory',
        action='store_true',
        help='let plain readers keep freed memory, as a reading process does',
    )
    parser.add_argument('--interval', type=int, help="frame interval, instead of the config's")
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.clips < 1:
        parser.error(f'--clips {args.clips} must be at least 1')
    if args.repeats < 0 or args.repeats == 1:
        parser.error(f'--repeats {args.repeats} must be at least 2')
    return args


class StagedPipeline:
    """A pipeline that notes seconds and megabytes of each stage, frames read and memory.

    They are in the packed sample.
    """

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def bind_classes(self, classes: Sequence[str] | None) -> None:
        """Hand the names of the dataset's classes to the transforms that ask for them."""
        for transform in self.transforms:
            if hasattr(transform, 'bind_classes'):
                transform.bind_classes(classes)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Run the stages."""
        names, seconds, sizes, frames = [], [], [], None

        def timed(name: str, stage: Callable[[dict[str, Any]], Any]) -> Any:
            start = time.perf_counter()
            found = stage(results)
            seconds.append(time.perf_counter() - start)
            sizes.append(megabytes(found))
            names.append(name)
            return found

        for transform in self.transforms:
            was_deferred = hasattr(results.get('imgs'), 'load')
            results = timed(type(transform).__name__, transform)
            if was_deferred and not hasattr(results.get('imgs'), 'load'):
                names[-1] += CONVERSION
            frames = results.get('frame_inds', frames)
        # Meta data is the one way out of the process in which the clip is read.
        facts = dict(
            stages=names,
            seconds=seconds,
            sizes=sizes,
            frame_inds=frames,
            resident=resident_memory() / 1e6,
        )
        results['data_samples'].set_metainfo(facts)
        return results


def megabytes(results: dict[str, Any]) -> float:
    """Size of the frames of a clip, before or after packing."""
    frames = results.get('inputs', results.get('imgs', ()))
    parts = frames if isinstance(frames, list) else [frames]
    return sum(getattr(part, 'nbytes', 0) for part in parts) / 1e6


def build(
    config: Any,
    file: str,
    prefix: str | None,
    repeats: int = 0,
    *,
    interval: int | None = None,
    in_decoder: bool = False,
) -> Any:
    """The config's training dataset over another list, with timed stages or with repeats."""
    from mmaction.datasets import PackActionInputs
    from mmaction.datasets.transforms.loading import defer_conversion
    from mmaction.registry import DATASETS, TRANSFORMS

    dataset = config.train_dataloader.dataset.to_dict()
    key = next(iter(dataset.get('data_prefix', dict(video=''))))
    folder = str(Path(file).resolve().parent) if prefix is None else prefix
    for step in dataset['pipeline']:
        if interval and 'frame_interval' in step:
            step['frame_interval'] = interval
        if step['type'] == 'DecordDecode' and in_decoder:
            step['in_decoder'] = True
    dataset.update(ann_file=file, data_root=None, data_prefix={key: folder})
    if dataset['type'] == 'RepeatAugDataset':
        dataset['type'] = 'VideoDataset'
        dataset.pop('num_repeats', None)
        dataset.pop('sample_once', None)
    if repeats:
        dataset.update(type='RepeatAugDataset', num_repeats=repeats)
    else:
        stages = [TRANSFORMS.build(transform) for transform in dataset['pipeline']]
        if not isinstance(stages[-1], PackActionInputs):
            raise ValueError(f'the pipeline ends with {stages[-1]}, not with PackActionInputs')
        defer_conversion(stages)
        dataset['pipeline'] = [StagedPipeline(stages)]
    return DATASETS.build(dataset)


def arrivals(dataset: Any, count: int) -> Iterator[tuple[Any, float]]:
    """`count` items from one worker, each with the seconds since the one before.

    One more is read first, while the worker starts.
    """
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    from mmaction.datasets import SampleKey
    from mmaction.utils.small_tensors import hand_over_as_bytes

    size = len(dataset)
    keys = [SampleKey(i % size, epoch=i // size) for i in range(count + 1)]
    loader = DataLoader(
        dataset,
        sampler=keys,
        num_workers=1,
        collate_fn=pseudo_collate,
        worker_init_fn=hand_over_as_bytes,
    )
    last = None
    for item in loader:
        now = time.perf_counter()
        if last is not None:
            yield item, now - last
        last = now


def measure(dataset: Any, count: int) -> float:
    """Print the table of one list and return the clips per second of the whole pipeline."""
    import numpy as np

    stages: list[str] = []
    seconds = sizes = np.zeros(1)
    total = received = 0.0
    memory = []
    for item, elapsed in arrivals(dataset, count):
        sample = item['data_samples'][0]
        stages = sample.stages
        seconds = seconds + np.array(sample.seconds) / count
        sizes = sizes + np.array(sample.sizes) / count
        total += elapsed / count
        received += item['inputs'][0].nbytes / 1e6 / count
        memory.append((sample.resident, resident_memory() / 1e6))
    print(f'{"stage":<22}{"ms/clip":>10}{"clips/s/core":>14}{"MB/clip":>10}')
    for stage in zip(stages, seconds, sizes, strict=True):
        print_row(*stage)
    print_row('to the main process', max(total - seconds.sum(), 0.0), received)
    decodes = [i for i, name in enumerate(stages) if name.endswith('Decode')]
    decoding = seconds[: decodes[-1] + 1].sum() if decodes else 0.0
    print_row('decoding alone', decoding)
    print_row('whole pipeline', total, received)
    print(f'the whole pipeline has {decoding / total:.2f} of the speed of decoding alone')
    points = sorted({max(count // share, 1) for share in (10, 4, 2, 1)})
    for name, held in zip(('reading', 'main'), zip(*memory, strict=True), strict=True):
        told = ', '.join(f'{held[point - 1]:.0f} after {point}' for point in points)
        print(f'memory in MB, {name} process: {told} clips')
    return 1 / total


def print_row(name: str, seconds: float, size: float = 0.0) -> None:
    """Print one line of the table."""
    rate = f'{1 / seconds:.1f}' if seconds > 1e-6 else '-'
    print(f'{name:<22}{1e3 * seconds:>10.2f}{rate:>14}' + (f'{size:>10.2f}' if size else ''))


def take_turns(config: Any, file: str, args: argparse.Namespace) -> None:
    """Print the CPU time of a clip by the pipeline and by its opponents, which take turns."""
    import random

    import numpy as np
    import torch
    from benchmark import processor
    from plain_reading import OPPONENTS, plain_reading

    from mmaction.datasets import SampleKey
    from mmaction.datasets.decoders import PyAVReader
    from mmaction.utils.isolated_call import isolated_call

    torch.set_num_threads(1)
    ours = build(config, file, args.data_prefix, interval=args.interval)
    fused = build(config, file, args.data_prefix, interval=args.interval, in_decoder=True)
    sampling = next(s for s in ours.pipeline.transforms[0].transforms if hasattr(s, 'clip_len'))
    names = ['pipeline', *args.against]
    spent: dict[str, list[float]] = {name: [] for name in names}

    def read(name: str, key: SampleKey, frames: Sequence[int] = ()) -> tuple[float, list[int]]:
        """CPU seconds, and the indices of the frames."""
        path = ours.get_data_info(int(key))['filename']
        if name == 'decoding':
            with closing(PyAVReader(path)) as opened:
                start = time.process_time()
                opened.get_deferred(frames)
                return time.process_time() - start, list(frames)
        start = time.process_time()
        if name in OPPONENTS:
            plain_reading(name, path, frames)
        else:
            sample = (ours if name == 'pipeline' else fused)[key]
            frames = sample['data_samples'].frame_inds.tolist()
        return time.process_time() - start, list(frames)

    call = isolated_call(read, timeout=600) if sys.platform == 'linux' else None
    if call is not None:
        call.start()
    in_reading_process = call or read
    if args.keep_memory:
        keep_freed_memory()
    for turn in range(-1, args.clips):
        key = SampleKey(max(turn, 0) % len(ours), epoch=max(turn, 0))
        # An untimed turn tells which frames the key stands for.
        _, frames = in_reading_process('pipeline', key)
        for name in random.sample(names, len(names)):
            random.seed(turn)
            reading = read if name in OPPONENTS else in_reading_process
            seconds, _ = reading(name, key, frames)
            if turn >= 0:  # the first turn imports and warms up
                spent[name].append(seconds)
    print(
        f'{file}: {args.clips} clips of every {sampling.frame_interval} frames, CPU time of one '
        f'thread, {processor(torch.device("cpu"))}'
    )
    base = float(np.mean(spent['pipeline']))
    for name, seconds in spent.items():
        mean = float(np.mean(seconds))
        ratio = f'{mean / base:.2f} times the CPU time of the pipeline'
        print(f'{name:<12}{1e3 * mean:>9.2f} ms/clip, {ratio}')
    print()


def compare(args: argparse.Namespace) -> None:
    """Measure each list, and hold it against the first."""
    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config

    config = load_config(args.config, args.cfg_options)
    init_default_scope('mmaction')
    first = None
    for file in args.lists:
        if args.against:
            take_turns(config, file, args)
            continue
        dataset = build(config, file, args.data_prefix)
        print(f'{file}: {len(dataset)} clips; one worker reads {args.clips}')
        rate = measure(dataset, args.clips)
        if first is None:
            first = rate
        else:
            print(f'{rate / first:.2f} times the clips/s of {args.lists[0]}')
        if args.repeats:
            files = -(-args.clips // args.repeats)
            repeated = build(config, file, args.data_prefix, args.repeats)
            elapsed = sum(seconds for _, seconds in arrivals(repeated, files))
            faster = files * args.repeats / elapsed
            print(
                f'repeated augmentation, {args.repeats} clips per opened file: {faster:.1f} '
                f'clips/s/core, {faster / rate:.2f} times those of one'
            )
        print()


def main() -> None:
    """Parse and measure."""
    args = parse_args()
    check_files(args, 'lists')
    import cv2

    # As in training: one thread per worker.
    cv2.setNumThreads(0)
    with user_errors(setup=True):
        compare(args)


if __name__ == '__main__':
    main()
