"""Curves and training times of one or several runs.

    python tools/analysis_tools/analyze_logs.py plot_curve RUN ... --keys loss acc/top1 --out C.png
    python tools/analysis_tools/analyze_logs.py cal_train_time RUN ...

RUN is a work dir, all of whose logs are read, or one `vis_data/scalars.json` in it. A log that
begins where another did, rather than where it ended, is another run, shown by itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

Line = dict[str, Any]


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest='task', required=True)
    curve = tasks.add_parser('plot_curve', help='draw curves')
    curve.add_argument('runs', nargs='+', metavar='RUN', help='work dir or scalars.json')
    curve.add_argument(
        '--keys',
        nargs='+',
        default=['loss', 'acc/top1'],
        help='what to draw, one panel each (default: loss acc/top1)',
    )
    curve.add_argument('--legend', nargs='+', help='names of the runs (default: ends of the paths)')
    curve.add_argument('--title', default='', help='headline')
    curve.add_argument('--out', required=True, metavar='FILE', help='picture, .png, .pdf or .svg')
    time = tasks.add_parser('cal_train_time', help='time per iteration')
    time.add_argument('runs', nargs='+', metavar='RUN', help='work dir or scalars.json')
    time.add_argument(
        '--include-outliers',
        action='store_true',
        help='also count the first log line of each epoch, in which loading starts',
    )
    return parser.parse_args(arguments)


class Run(NamedTuple):
    """A run, and what it logged.

    Args:
        name: The work dir; or a log, where the work dir has several runs or the log was named.
        train: Lines of training, by their steps; where it was resumed, the later log of a step.
        val: Those of validation.
    """

    name: str
    train: list[Line]
    val: list[Line]


def read_runs(path: str) -> list[Run]:
    """The runs of a work dir, the first one first, or that of a log.

    Raises:
        FileNotFoundError: There is no log.
        ValueError: A line of a log is damaged.
    """
    folder = Path(path)
    files = sorted(folder.glob('*/vis_data/scalars.json')) if folder.is_dir() else [folder]
    if not files or not files[0].is_file():
        raise FileNotFoundError(
            f'{path}: expected a work dir with */vis_data/scalars.json in it, or such a file'
        )
    runs: list[tuple[Path, dict[int, Line], dict[int, Line]]] = []
    for file in files:
        train, val = _read_log(file)
        # A run that is resumed goes on after the first step that was logged.
        if runs and not (train and runs[-1][1] and min(train) <= min(runs[-1][1])):
            runs[-1][1].update(train)
            runs[-1][2].update(val)
        else:
            runs.append((file, train, val))
    return [
        Run(
            path if len(runs) == 1 else str(file),
            [train[step] for step in sorted(train)],
            [val[step] for step in sorted(val)],
        )
        for file, train, val in runs
    ]


def _read_log(file: Path) -> tuple[dict[int, Line], dict[int, Line]]:
    train: dict[int, Line] = {}
    val: dict[int, Line] = {}
    for number, text in enumerate(file.read_text(encoding='utf-8').splitlines(), 1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'{file}:{number}: expected JSON, found {text[:40]!r}') from error
        (train if 'lr' in line else val)[line.get('step', 0)] = line
    return train, val


def series(run: Run, key: str) -> tuple[list[float], list[float], str]:
    """Places and values of a key in a run, and what the places count.

    Raises:
        ValueError: No line has the key; the message lists those there are.
    """
    _, train, val = run
    by_epoch = bool(train) and 'epoch' in train[-1]
    for lines, is_train in ((train, True), (val, False)):
        kept = [line for line in lines if key in line]
        if not kept:
            continue
        per_epoch = max(line['iter'] / line['epoch'] for line in train) if by_epoch else 1
        # Lines of training count iterations, those of validation epochs.
        scale = per_epoch if is_train else 1
        places = [line['step'] / scale for line in kept]
        return places, [line[key] for line in kept], 'epoch' if by_epoch else 'iteration'
    there = sorted({name for line in (*train, *val) for name in line} - {'epoch', 'iter', 'step'})
    raise ValueError(f'{run.name} has no {key!r} in its log (there are: {", ".join(there)})')


def short_names(runs: list[str]) -> list[str]:
    """Names for the legend: of each path as little of its end as tells the runs apart.

    A log inside a work dir is called `WORK_DIR/DATE_TIME`.
    """
    ends = []
    for run in runs:
        path = Path(run).resolve()
        if path.name == 'scalars.json' and path.parent.name == 'vis_data':
            *parents, name = path.parent.parent.parts[1:]
            ends.append([*parents[:-1], '/'.join([*parents[-1:], name])])
        else:
            ends.append(list((path if path.is_dir() else path.with_suffix('')).parts[1:]))
    names: list[str] = []
    for length in range(1, max(map(len, ends)) + 1):
        names = ['/'.join(parts[-length:]) for parts in ends]
        if len(set(names)) == len(set(runs)):
            break
    return names


def plot_curve(args: argparse.Namespace) -> None:
    """Draw one panel for each key, one line for each run."""
    from matplotlib.figure import Figure

    from mmaction.utils.io import save_figure
    from mmaction.visualization import check_out_name

    check_out_name(args.out, ('.png', '.pdf', '.svg'))
    runs = [run for path in args.runs for run in read_runs(path)]
    ends = short_names([run.name for run in runs])
    names = args.legend or ends
    if len(names) != len(runs):
        raise ValueError(f'--legend has {len(names)} names for {len(runs)} runs: {", ".join(ends)}')
    figure = Figure(figsize=(8, 0.6 + 2.4 * len(args.keys)), layout='constrained')
    axes = figure.subplots(len(args.keys), 1, sharex=True, squeeze=False)[:, 0]
    for axis, key in zip(axes, args.keys, strict=True):
        for name, run in zip(names, runs, strict=True):
            places, values, unit = series(run, key)
            marker = 'o' if len(places) <= 30 else None
            axis.plot(places, values, label=name, linewidth=1.6, marker=marker, markersize=3.5)
        axis.set_ylabel(key)
        axis.grid(color='#e2e8f0', linewidth=0.8)
        axis.spines[['top', 'right']].set_visible(False)
    axes[-1].set_xlabel(unit)
    # Outside the panels, where it cannot hide a curve.
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc='outside upper left')
    if args.title:
        figure.suptitle(args.title, fontsize=11, weight='bold')
    save_figure(figure, args.out, dpi=150)
    print(f'written: {args.out}')


def train_times(run: Run, include_outliers: bool) -> str:
    """A sentence on the seconds per iteration of a run.

    Raises:
        ValueError: The log has no times.
    """
    lines = [line for line in run.train if 'time' in line]
    if not include_outliers:
        numbers = [line.get('epoch', 0) for line in lines]
        later = [
            line
            for line, now, before in zip(lines[1:], numbers[1:], numbers[:-1], strict=True)
            if now == before
        ]
        lines = later or lines
    if not lines:
        raise ValueError(f'{run.name} has no times in its log')
    epochs: dict[int, list[float]] = {}
    for line in lines:
        epochs.setdefault(line.get('epoch', 0), []).append(line['time'])
    means = {epoch: sum(times) / len(times) for epoch, times in epochs.items()}
    slow, fast = max(means, key=lambda e: means[e]), min(means, key=lambda e: means[e])
    mean = sum(line['time'] for line in lines) / len(lines)
    waiting = sum(line.get('data_time', 0.0) for line in lines) / len(lines)
    return (
        f'{run.name}: {mean:.3f} s per iteration, {waiting:.3f} s of it waiting for data; '
        f'slowest epoch {slow} ({means[slow]:.3f} s), fastest epoch {fast} ({means[fast]:.3f} s)'
    )


def main() -> None:
    """Parse and do the task."""
    args = parse_args()
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'runs')

    with user_errors(setup=True):
        if args.task == 'plot_curve':
            plot_curve(args)
        else:
            for path in args.runs:
                for run in read_runs(path):
                    print(train_times(run, args.include_outliers))


if __name__ == '__main__':
    main()
