"""Predict many small clips with "mmaction predict", killed on the way, and watch its memory.

    python tools/analysis_tools/benchmark_predict.py [CONFIG CHECKPOINT] --clips 100000 --kills 2

Without CONFIG it is the pico model, on one view, with random weights. The clips are links to a
few short videos, so each is opened and decoded as any other. Prints clips/s, the memory of all
processes at each tenth of the parts (the main process, then those that read), and what
"mmaction merge" says of the parts: each clip once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmaction.utils.cli import Parser, check_files, user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='config file')
    add('checkpoint', nargs='?', help='checkpoint file')
    add('--clips', type=int, default=100_000, help='(%(default)s)')
    add('--kills', type=int, default=2, help='times that the run is killed (%(default)s)')
    add('--workers', type=int, default=2, help='processes that read (%(default)s)')
    add('--batch-size', type=int, default=32, help='(%(default)s)')
    add('--part-size', type=int, default=1000, help='(%(default)s)')
    args = parser.parse_args(argv)
    if args.config is not None and args.checkpoint is None:
        parser.error('CONFIG needs CHECKPOINT')
    return args


def write_model(folder: Path) -> tuple[str, str]:
    """Config and random weights of a small model."""
    from mmaction.apis import init_recognizer
    from mmaction.engine.runner.checkpoint import save_checkpoint_file

    config, checkpoint = folder / 'pico.py', folder / 'pico.pth'
    base = "_base_ = 'dualformer_pico_motion_digits.py'\n"
    config.write_text(base + 'test_pipeline = _base_.val_pipeline\n')
    model = init_recognizer(str(config), None, 'cpu')
    save_checkpoint_file(dict(state_dict=model.state_dict()), checkpoint)
    return str(config), str(checkpoint)


def write_clips(folder: Path, count: int) -> None:
    """Links to ten videos of 8 frames of 64 x 48 pixels, and their list."""
    import av
    import numpy as np

    for kind in range(10):
        with av.open(str(folder / f'kind{kind}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for frame in range(8):
                picture = np.full((48, 64, 3), 20 * kind + 3 * frame, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode())
    with (folder / 'list.txt').open('w') as listed:
        for number in range(count):
            name = f'{number // 1000:04}/{number:07}.mp4'
            if number % 1000 == 0:
                (folder / name).parent.mkdir()
            os.link(folder / f'kind{number % 10}.mp4', folder / name)
            listed.write(f'{name} {number % 2}\n')


def memory_of(process: int) -> list[float]:
    """MB of a process and of each of its children; what they share is divided among them."""
    found = []
    for each in [process, *_children(process)]:
        try:
            lines = Path(f'/proc/{each}/smaps_rollup').read_text().splitlines()
        except OSError:  # it has ended
            continue
        found += [int(line.split()[1]) / 1000 for line in lines if line.startswith('Pss:')]
    return found


def _children(process: int) -> list[int]:
    found = []
    for path in Path(f'/proc/{process}/task').glob('*/children'):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


def run(command: list[str], out: Path, total: int, stop_at: int | None) -> float:
    """Predict until so many parts are there, printing the memory at each tenth of all parts.

    Returns:
        The most memory in MB, from the first part of this run on.
    """
    before = parts = len(list(out.glob('part-*')))
    start, shown, most = time.monotonic(), -1, 0.0
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.2)
        parts = len(list(out.glob('part-*')))
        if parts > before and (10 * parts // total > shown or time.monotonic() % 5 < 0.2):
            memory = memory_of(process.pid)
            most = max(most, sum(memory))
            if 10 * parts // total > shown and memory:
                shown = 10 * parts // total
                each = ' + '.join(f'{one:.0f}' for one in memory)
                print(f'  {parts:6} of {total} parts: {sum(memory):.0f} MB ({each})', flush=True)
        if stop_at is not None and parts >= stop_at:
            process.kill()
            process.wait()
            break
    seconds, status = time.monotonic() - start, process.returncode
    how = 'killed' if status == -signal.SIGKILL else f'ended with status {status}'
    print(f'{how}: {parts - before} parts in {seconds:.0f} s', flush=True)
    return most


def measure(args: argparse.Namespace) -> None:
    """Predict, with kills, and check."""
    from mmaction.utils.prediction_parts import check_parts

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, args.clips)
        config, checkpoint = args.config, args.checkpoint
        if config is None:
            config, checkpoint = write_model(folder)
        out = folder / 'out'
        command = [sys.executable, '-m', 'mmaction', 'predict', str(folder / 'list.txt')]
        command += ['--config', config, '--checkpoint', checkpoint, '--out', str(out)]
        command += ['--workers', str(args.workers), '--batch-size', str(args.batch_size)]
        command += ['--part-size', str(args.part_size)]
        total = -(-args.clips // args.part_size)
        start = time.monotonic()
        stops = [total * (i + 1) // (args.kills + 1) for i in range(args.kills)]
        most = max(run(command, out, total, stop) for stop in [*stops, None])
        seconds = time.monotonic() - start
        clips, unreadable = check_parts(out, args.clips)
        print(
            f'{clips} clips, each once, {unreadable} not read: {clips / seconds:.0f} clips/s, '
            f'{most:.0f} MB at most'
        )


def main(argv: list[str] | None = None) -> None:
    """Parse, measure."""
    args = parse_args(argv)
    check_files(args, 'config', 'checkpoint')
    with user_errors(setup=True):
        measure(args)


if __name__ == '__main__':
    main()
