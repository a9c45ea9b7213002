"""Predict many small clips with "mmaction predict", killed on the way, and watch its memory.

    python tools/analysis_tools/benchmark_predict.py CONFIG CHECKPOINT --clips 100000 --kills 2

The clips are links to a few short videos, so each is opened and decoded as any other. Prints
clips/s, the memory of the main process at the first and at the last part of each run, and what
"mmaction merge" says of the parts: each clip once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmaction.utils.cli import Parser, check_files, user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--clips', type=int, default=100_000, help='(%(default)s)')
    add('--kills', type=int, default=2, help='times that the run is killed (%(default)s)')
    add('--workers', type=int, default=2, help='processes that read (%(default)s)')
    add('--batch-size', type=int, default=32, help='(%(default)s)')
    add('--part-size', type=int, default=1000, help='(%(default)s)')
    return parser.parse_args(argv)


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


def resident(process: int) -> float:
    """MB of memory that a process holds; 0 once it has ended."""
    try:
        pages = int(Path(f'/proc/{process}/statm').read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def run(command: list[str], out: Path, stop_at: int | None) -> str:
    """Predict until so many parts are there; what to print of it."""
    before = len(list(out.glob('part-*')))
    start, first, last, grown = time.monotonic(), 0.0, 0.0, 0.0
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    parts = before
    while process.poll() is None:
        time.sleep(0.2)
        now = len(list(out.glob('part-*')))
        memory = resident(process.pid)
        if now > before and memory:
            first, last, grown = first or memory, memory, max(grown, memory)
        parts = now
        if stop_at is not None and parts >= stop_at:
            process.kill()
            process.wait()
            break
    seconds = time.monotonic() - start
    how = 'killed' if stop_at is not None else f'ended with {process.returncode}'
    return (
        f'{how}: {parts - before} parts in {seconds:.0f} s; memory {first:.0f} MB at the first, '
        f'{last:.0f} at the last, {grown:.0f} at most'
    )


def measure(args: argparse.Namespace) -> None:
    """Predict, with kills, and check."""
    from mmaction.utils.prediction_parts import check_parts

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, args.clips)
        out = folder / 'out'
        command = [sys.executable, '-m', 'mmaction', 'predict', str(folder / 'list.txt')]
        command += ['--config', args.config, '--checkpoint', args.checkpoint, '--out', str(out)]
        command += ['--workers', str(args.workers), '--batch-size', str(args.batch_size)]
        command += ['--part-size', str(args.part_size)]
        total = -(-args.clips // args.part_size)
        start = time.monotonic()
        stops = [total * (i + 1) // (args.kills + 1) for i in range(args.kills)]
        for stop in [*stops, None]:
            print(run(command, out, stop), flush=True)
        seconds = time.monotonic() - start
        clips, unreadable = check_parts(out, args.clips)
        print(f'{clips} clips, each once, {unreadable} not read: {clips / seconds:.0f} clips/s')


def main(argv: list[str] | None = None) -> None:
    """Parse, measure."""
    args = parse_args(argv)
    check_files(args, 'config', 'checkpoint')
    with user_errors(setup=True):
        measure(args)


if __name__ == '__main__':
    main()
