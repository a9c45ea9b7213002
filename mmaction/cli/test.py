"""Test a checkpoint: `python tools/test.py CONFIG CHECKPOINT [options]`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors

if TYPE_CHECKING:
    from mmaction.engine.runner import ActionRunner

__all__ = ['main', 'parse_args']

METRICS = (
    'top_k_accuracy',
    'mean_class_accuracy',
    'mean_average_precision',
    'mmit_mean_average_precision',
)


def parse_args(arguments: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    parser = Parser(prog=prog, description='Test a checkpoint.')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file or its http(s) address')
    default = 'default: that of the config, or else ./work_dirs/CONFIG_NAME'
    add('--work-dir', help=f'folder for metrics.json and logs ({default})')
    add('--out', metavar='FILE', help='write the scores of each clip (.pkl, .json or .yaml)')
    add('--dump', metavar='FILE', help='write predictions and labels of each clip (.json or .pkl)')
    add('--eval', nargs='+', choices=METRICS, help='metrics (default: those of the config)')
    add(
        '--eval-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='options of the metric: metric_options.top_k_accuracy.topk=(1,3)',
    )
    add(
        '--max-unreadable',
        type=float,
        default=0.01,
        metavar='PART',
        help='end with an error if more of the clips than this could not be read (%(default)s)',
    )
    add(
        '--compile',
        action=argparse.BooleanOptionalAction,
        help='compile the backbone with torch.compile (default: on a GPU): worth its minutes for '
        'many videos',
    )
    add(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', 'bf16', 'fp16', 'off'),
        default='off',
        help='precision of the forward pass (default: off, fp32, as published results are '
        'tested); without a value bf16, or fp16 on GPUs that have no bf16',
    )
    add('--show-dir', metavar='DIR', help='draw clips with labels and predictions into this folder')
    add('--interval', type=int, default=1, help='with --show-dir: every n-th clip (%(default)s)')
    add('--average-clips', choices=('prob', 'score'), help='how the views of a clip are averaged')
    add_cfg_options(parser)
    add('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add('--show', action='store_true', help=argparse.SUPPRESS)
    add('--wait-time', help=argparse.SUPPRESS)
    add('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    add('--tmpdir', help='accepted; results travel between the processes without files')
    add('--gpu-collect', action='store_true', help='accepted; see --tmpdir')
    args = parser.parse_args(arguments)
    if args.show or args.wait_time is not None:
        parser.error(
            'there is no --show: --show-dir DIR draws the clips into a folder, and with '
            '--cfg-options "default_hooks.visualization=dict(type=VisualizationHook,show=True)" '
            'beside it a window shows them as well'
        )
    return args


def check_labels(runner: ActionRunner, args: argparse.Namespace) -> None:
    """Refuse to measure without labels, and to test for nothing."""
    from mmaction.errors import ConfigError

    unlabeled = runner.split_facts['test'].unlabeled
    if unlabeled and (args.eval or not (args.out or args.dump)):
        raise ConfigError(
            'the test list has no labels, so there is nothing to measure: take a list with labels, '
            'or --out FILE without --eval to keep the scores'
        )


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, merge, run."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'checkpoint')
    # Threads that wait must not hold a core that reading processes need; read as torch loads.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

    from mmaction.config.from_args import apply_test_args
    from mmaction.config.load import load_config
    from mmaction.distributed.collectives import close_processes
    from mmaction.distributed.launch import init_processes, name_processes
    from mmaction.engine.optimizers.amp import set_test_precision
    from mmaction.engine.runner import ActionRunner

    with user_errors(setup=True):
        name_processes(args.launcher)
        cfg = load_config(args.config, args.cfg_options)
        apply_test_args(cfg, args)
        set_test_precision(cfg, args.amp)
        processes = init_processes(args.launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
        cfg.launcher = processes.launcher
        runner = ActionRunner.from_cfg(cfg)
        runner.prepare('test')
        check_labels(runner, args)
    with user_errors(setup=False):
        runner.test()
    close_processes()
