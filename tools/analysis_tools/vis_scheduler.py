"""Draw the learning rate of a config over training, before training.

    python tools/analysis_tools/vis_scheduler.py CONFIG [CONFIG ...] --out lr.png --steps 3750

Each config is one line. The steps of an epoch are counted from the training list where it is
there, else given.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='config files')
    add('--out', type=Path, default=Path('lr.png'), help='picture to write (%(default)s)')
    add('--steps', type=int, help='steps of an epoch (default: counted from the list)')
    add('--processes', type=int, default=1, help='processes that share an epoch (%(default)s)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.steps is not None and args.steps < 1:
        parser.error(f'--steps {args.steps} must be at least 1')
    if args.processes < 1:
        parser.error(f'--processes {args.processes} must be at least 1')
    return args


def steps_of(cfg: Any, processes: int) -> int:
    """Steps of an epoch, from the training list."""
    from mmaction.registry import DATASETS

    loader = cfg.train_dataloader
    clips = len(DATASETS.build(loader.dataset))
    steps: int = max(-(-clips // (loader.batch_size * processes)), 1)
    return steps


def learning_rates(cfg: Any, steps: int) -> list[float]:
    """The learning rate of every step of a run, of a parameter without a factor of its own.

    Args:
        cfg: The config.
        steps: Steps of an epoch.

    Raises:
        ValueError: Training is not counted in epochs.
    """
    import torch
    from mmengine.optim import OptimWrapper

    from mmaction.registry import OPTIMIZERS, PARAM_SCHEDULERS

    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    if epochs is None:
        raise ValueError(f'{cfg.filename}: train_cfg has no max_epochs')
    optimizer = OPTIMIZERS.build(
        dict(cfg.optim_wrapper.optimizer, params=[torch.nn.Parameter(torch.zeros(1))])
    )
    wrapper = OptimWrapper(optimizer)
    schedulers = []
    for given in cfg.get('param_scheduler') or []:
        options = dict(given)
        # As the runner does: without an end of its own, a scheduler ends with training.
        options.setdefault('end', epochs if options.get('by_epoch', True) else epochs * steps)
        kind: Any = PARAM_SCHEDULERS.get(options.pop('type'))
        if options.pop('convert_to_iter_based', False):
            schedulers.append(
                kind.build_iter_from_epoch(optimizer=wrapper, epoch_length=steps, **options)
            )
        else:
            schedulers.append(kind(optimizer=wrapper, **options))
    rates = []
    for step in range(epochs * steps):
        rates.append(float(optimizer.param_groups[0]['lr']))
        ended = (step + 1) % steps == 0
        for scheduler in schedulers:
            if not scheduler.by_epoch or ended:
                scheduler.step()
    return rates


def draw(curves: dict[str, tuple[list[float], int]], out: Path) -> None:
    """Write the picture: of each name, the rates and the steps of an epoch."""
    import numpy as np
    from matplotlib.figure import Figure

    from mmaction.utils.io import save_figure

    figure = Figure(figsize=(8, 3.6), layout='constrained')
    axis = figure.subplots()
    for name, (rates, steps) in curves.items():
        axis.plot(np.arange(len(rates)) / steps, rates, linewidth=1.8, label=name)
    axis.set_xlabel('epoch')
    axis.set_ylabel('learning rate')
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.grid(color='#e2e8f0', linewidth=0.8)
    axis.spines[['top', 'right']].set_visible(False)
    axis.ticklabel_format(axis='y', style='sci', scilimits=(-2, 3))
    axis.legend(frameon=False)
    save_figure(figure, out, dpi=130)


def main(argv: list[str] | None = None) -> None:
    """Parse, compute, draw."""
    args = parse_args(argv)
    check_files(args, 'configs')
    import warnings

    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config

    # No step of the optimizer is made here.
    warnings.filterwarnings('ignore', message='Detected call of `')
    with user_errors(setup=True):
        init_default_scope('mmaction')
        curves = {}
        for file in args.configs:
            cfg = load_config(file, args.cfg_options)
            steps = args.steps or steps_of(cfg, args.processes)
            rates = learning_rates(cfg, steps)
            curves[Path(file).stem] = rates, steps
            print(
                f'{Path(file).stem}: {len(rates)} steps, learning rate {rates[0]:.3g} at the '
                f'start, at most {max(rates):.3g}, {rates[-1]:.3g} at the end'
            )
        draw(curves, args.out)
        print(f'written: {args.out}')


if __name__ == '__main__':
    main()
