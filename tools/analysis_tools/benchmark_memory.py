"""Peak memory of a training step by batch size, and the largest batch that a GPU holds.

    python tools/analysis_tools/benchmark_memory.py CONFIG [CONFIG ...] \
        [--batches 1 2 3] [--precision bf16] [--budgets 24 40 80 141]

For each way of `use_checkpoint` (False, 'selective', True) one step of each batch size
runs in a process of its own. Its peak is fixed + batch * per_clip, fitted to the smallest
and the largest batch; what that says of those between is printed beside what was measured.
The largest batch of a budget is

    (0.9 * budget - 16 bytes * parameters - 1 GB) / per_clip

where 16 bytes are a weight, its gradient and the two moments of AdamW in fp32, the gigabyte
is for the GPU's own libraries, and the tenth for an allocator that cannot fill every gap.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

MODES = ('False', 'selective', 'True')
BYTES_PER_PARAMETER = 16
LIBRARIES = 1e9
USABLE = 0.9


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG')
    add('--batches', type=int, nargs='+', default=[1, 2, 3], help='default: 1 2 3')
    add('--precision', choices=('fp32', 'bf16', 'fp16'), default='bf16', help='default: bf16')
    add('--budgets', type=float, nargs='+', default=[24, 40, 80, 141], help='GB of the GPUs')
    add('--modes', nargs='+', choices=MODES, default=MODES, help='default: all three')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: video_size's")
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    args = parser.parse_args(arguments)
    if len(set(args.batches)) < 2:
        parser.error('--batches needs two different sizes to tell fixed from growing memory')
    return args


def largest_batch(budget: float, per_clip: float, parameters: int) -> int:
    """Clips that fit in a budget of bytes; see above."""
    left = USABLE * budget - BYTES_PER_PARAMETER * parameters - LIBRARIES
    return max(0, int(left / per_clip))


def fit(peaks: dict[int, int]) -> tuple[float, float]:
    """Fixed bytes, and bytes of each clip, by the smallest and the largest batch."""
    low, high = min(peaks), max(peaks)
    per_clip = (peaks[high] - peaks[low]) / (high - low)
    return peaks[low] - low * per_clip, per_clip


def measure(config: str, mode: str, args: argparse.Namespace) -> dict[int, int]:
    """Peak bytes by batch size."""
    import benchmark

    peaks = {}
    for batch in sorted(set(args.batches)):
        command = [config, '--mode', 'train', '--precision', args.precision, '--batch', str(batch)]
        if args.shape:
            command += ['--shape', *map(str, args.shape)]
        if args.device:
            command += ['--device', args.device]
        peak = benchmark.ask_memory(f'use_checkpoint={mode}', command)
        if peak is None:
            raise ValueError(f'{config}: no peak for batch {batch}, see above')
        peaks[batch] = peak
    return peaks


def main(arguments: list[str] | None = None) -> None:
    """Print a table for each config."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'configs')
    warnings.filterwarnings('ignore')
    import benchmark

    for config in args.configs:
        with user_errors(setup=True):
            name = Path(config).stem
            backbone = benchmark.build(name, benchmark.parse_args([config]))
        parameters = sum(p.numel() for p in backbone.parameters())
        print(f'\n{name}, {args.precision}, {parameters / 1e6:.1f} M parameters')
        batches = sorted(set(args.batches))
        heads = [f'batch {batch}' for batch in batches] + ['per clip', 'fit off by']
        heads += [f'in {budget:g} GB' for budget in args.budgets]
        print(f'{"use_checkpoint":<16}' + ''.join(f'{head:>12}' for head in heads))
        for mode in args.modes:
            with user_errors(setup=True):
                peaks = measure(config, mode, args)
            fixed, per_clip = fit(peaks)
            off = max(abs(fixed + b * per_clip - peaks[b]) / peaks[b] for b in batches)
            cells = [f'{peaks[batch] / 1e9:.2f} GB' for batch in batches]
            cells += [f'{per_clip / 1e9:.2f} GB', f'{100 * off:.0f} %']
            cells += [str(largest_batch(b * 1e9, per_clip, parameters)) for b in args.budgets]
            print(f'{mode:<16}' + ''.join(f'{cell:>12}' for cell in cells), flush=True)


if __name__ == '__main__':
    main()
