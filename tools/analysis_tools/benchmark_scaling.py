"""How cost grows with the length and size of clips and with the model: a table and a plot.

    python tools/analysis_tools/benchmark_scaling.py CONFIG [CONFIG ...] \
        [--frames 8 16 32 64 128] [--sizes 112 224 336 448] [--out growth.png]

The first config is measured on longer and larger clips, all of them on its own clip size.
The model is built once, for the config's clip, as a user would run a trained model on other
clips; with `--rebuild` it is built for each clip, so that its pyramid keeps its size.
Exponents are those of cost = constant * tokens ** exponent, fitted over all clips. Memory is
the peak of a forward pass, in a process of its own.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs of one architecture')
    add('--frames', type=int, nargs='*', default=[8, 16, 32, 64, 128])
    add('--sizes', type=int, nargs='*', default=[112, 224, 336, 448], help='height and width')
    add('--rebuild', action='store_true', help='build the model for each clip size')
    add('--steps', type=int, default=3, help='timed steps of each (default: 3)')
    add('--precision', choices=('fp32', 'bf16', 'fp16'), default='fp32')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add('--no-memory', action='store_true', help='leave out peak memory')
    add('--out', metavar='PNG', help='write the plot there')
    return parser.parse_args(arguments)


def command_of(args: argparse.Namespace, config: str, shape: tuple[int, ...]) -> list[str]:
    """The command line of benchmark.py for one clip size."""
    command = [config, '--steps', str(args.steps), '--warm-up', '1']
    command += ['--precision', args.precision, '--shape', *map(str, shape)]
    if args.device:
        command += ['--device', args.device]
    if args.rebuild:
        command += ['--cfg-options', f'model.backbone.video_size={",".join(map(str, shape))}']
    return command


def measure(args: argparse.Namespace, config: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Seconds, operations, memory and seconds by part of a forward pass on one clip."""
    import benchmark

    command = command_of(args, config, shape)
    subject = benchmark.Subject(Path(config).stem, benchmark.parse_args(command))
    parts = benchmark.part_times(subject)
    step = parts.pop((-1, 'step'))[0]
    by_kind: dict[str, float] = {}
    for (_, kind), (forward, _) in parts.items():
        by_kind[kind] = by_kind.get(kind, 0.0) + forward
    result = dict(
        name=subject.name,
        shape=shape,
        tokens=shape[0] * shape[1] * shape[2] / 32,
        seconds=step,
        flops=subject.count(),
        parameters=sum(p.numel() for p in subject.backbone.parameters()),
        **by_kind,
    )
    if not args.no_memory:
        result['memory'] = benchmark.ask_memory(subject.name, command)
    return result


def exponent(rows: list[dict[str, Any]], key: str, over: str = 'tokens') -> float:
    """The slope of log(key) over log(over), by least squares."""
    import numpy as np

    x = np.log([row[over] for row in rows])
    y = np.log([row[key] for row in rows])
    return float(np.polyfit(x, y, 1)[0])


def print_table(title: str, rows: list[dict[str, Any]], over: str) -> None:
    """One row for each clip or model, and the exponents below."""
    keys = [
        key for key in ('flops', 'seconds', 'local', 'global', 'MLP', 'memory') if key in rows[0]
    ]
    units = dict(flops=1e9, memory=2**20)
    heads = dict(flops='GFLOP', seconds='ms', memory='MiB')
    print(f'\n{title}')
    print(f'{"":<42}' + ''.join(f'{heads.get(key, key + " ms"):>12}' for key in keys))
    for row in rows:
        label = f'{row["name"][:24]}  {"x".join(map(str, row["shape"]))}'
        cells = (row[key] / units.get(key, 1e-3) for key in keys)
        print(f'{label:<42}' + ''.join(f'{cell:12.1f}' for cell in cells))
    if len(rows) > 1:
        slopes = (exponent(rows, key, over) for key in keys)
        print(f'{"exponent over " + over:<42}' + ''.join(f'{slope:12.2f}' for slope in slopes))


def plot(tables: dict[str, tuple[list[dict[str, Any]], str]], path: str) -> None:
    """Cost relative to the first row, on logarithmic axes, beside the arithmetic's."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from mmaction.utils.io import save_figure

    lines = {
        'flops': ('arithmetic', 'black', '--'),
        'seconds': ('time', '#2b6cb0', '-'),
        'local': ('local attention', '#2f855a', '-'),
        'global': ('global attention', '#dd6b20', '-'),
        'memory': ('peak memory', '#a0aec0', '-'),
    }
    figure, axes = pyplot.subplots(1, len(tables), figsize=(4.2 * len(tables), 3.8), squeeze=False)
    for axis, (title, (rows, over)) in zip(axes[0], tables.items(), strict=True):
        x = [row[over] / rows[0][over] for row in rows]
        for key, (name, color, style) in lines.items():
            if key not in rows[0]:
                continue
            y = [row[key] / rows[0][key] for row in rows]
            label = f'{name} (^{exponent(rows, key, over):.2f})'
            axis.plot(x, y, style, color=color, marker='o', markersize=4, label=label)
        axis.set(title=title, xscale='log', yscale='log', xticks=x)
        axis.set_xticklabels([row['label'] for row in rows], fontsize=8)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100, 200, 500]))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}x'))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, frameon=False)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0][0].set_ylabel('cost, relative to the first')
    figure.tight_layout()
    save_figure(figure, path, dpi=150)
    print(f'\nplot: {path}')


def main(arguments: list[str] | None = None) -> None:
    """Print the tables and write the plot."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'configs')
    warnings.filterwarnings('ignore')
    import torch

    from mmaction.config.load import load_config
    from mmaction.utils.memory import keep_freed_memory

    if not torch.cuda.is_available():
        keep_freed_memory()
    with user_errors(setup=True):
        first = args.configs[0]
        T, H, W = load_config(first).model.backbone.get('video_size', (32, 224, 224))
        cache: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}

        def row(config: str, shape: tuple[int, ...], label: str) -> dict[str, Any]:
            if (config, shape) not in cache:
                cache[config, shape] = measure(args, config, shape)
            return dict(cache[config, shape], label=label)

        tables = {}
        if args.frames:
            rows = [row(first, (t, H, W), str(t)) for t in args.frames]
            tables[f'frames, {H}x{W}'] = (rows, 'tokens')
        if args.sizes:
            rows = [row(first, (T, s, s), str(s)) for s in args.sizes]
            tables[f'height and width, {T} frames'] = (rows, 'tokens')
        if len(args.configs) > 1:
            rows = [
                row(config, (T, H, W), Path(config).stem.split('_')[1]) for config in args.configs
            ]
            tables[f'model, {T}x{H}x{W}'] = (rows, 'parameters')
    for title, (rows, over) in tables.items():
        print_table(title, rows, over)
    if args.out:
        plot(tables, args.out)


if __name__ == '__main__':
    main()
