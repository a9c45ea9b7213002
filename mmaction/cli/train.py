"""Train a recognizer: `python tools/train.py CONFIG [options]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors

if TYPE_CHECKING:
    from mmaction.engine.runner import ActionRunner

__all__ = ['main', 'parse_args']


def parse_args(arguments: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    parser = Parser(prog=prog, description='Train a recognizer.')
    add = parser.add_argument
    add('config', help='config file')
    default = 'default: that of the config, or else ./work_dirs/CONFIG_NAME'
    add('--work-dir', help=f'folder for checkpoints and logs ({default})')
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='resume from CKPT, or without CKPT from the last checkpoint in the work dir',
    )
    add('--resume-from', metavar='CKPT', help='the same as --resume CKPT')
    add('--validate', action='store_true', help='validate while training (the default)')
    add('--no-validate', action='store_true', help='do not validate while training')
    add('--test-last', action='store_true', help='test the last checkpoint after training')
    add('--test-best', action='store_true', help='test the best checkpoint after training')
    add('--seed', type=int, help='seed of weights, order and augmentation (default: drawn)')
    add('--diff-rank-seed', action='store_true', help='accepted; each rank has its own anyway')
    add('--deterministic', action='store_true', help='deterministic operations, a little slower')
    add(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', 'bf16', 'fp16', 'off', 'apex'),
        help='mixed precision; without a value what a short measurement finds fastest here',
    )
    add(
        '--compile',
        action=argparse.BooleanOptionalAction,
        help='compile the backbone with torch.compile (default: on a GPU)',
    )
    add('--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size')
    for option in ('--tensorboard', '--wandb', '--mlflow', '--trackio'):
        add(option, action='store_true', help=f'also log to {option[2:]}')
    add_cfg_options(parser)
    add('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    add('--gpus', '--gpu-ids', nargs='*', help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.gpus is not None:
        parser.error(
            '--gpus and --gpu-ids are gone: use "bash tools/dist_train.sh CONFIG N" for N GPUs, '
            'and CUDA_VISIBLE_DEVICES=0,3 to choose which'
        )
    if args.validate and args.no_validate:
        parser.error('--validate and --no-validate exclude each other')
    if args.resume and args.resume_from:
        parser.error('--resume and --resume-from exclude each other')
    return args


def test_after(runner: ActionRunner, args: argparse.Namespace) -> None:
    """Test the last and the best checkpoint, as asked; metrics.json is of the one tested last."""
    from mmengine.hooks import CheckpointHook

    from mmaction.engine.hooks import TestResultsHook
    from mmaction.utils.metric_names import published_names

    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    folder = next((hook.out_dir for hook in hooks), runner.work_dir)
    wanted: list[tuple[str, Any]] = []
    if args.test_last:
        wanted.append(('last', runner.message_hub.get_info('last_ckpt')))
    if args.test_best:
        wanted.append(('best', runner.message_hub.get_info('best_ckpt')))
    if wanted:
        # What the exit status tells of is the training, not unreadable clips of the test.
        runner.register_hook(TestResultsHook(max_unreadable=1.0))
    for name, checkpoint in wanted:
        if checkpoint is None:
            raise ValueError(f'--test-{name}: the run has no {name} checkpoint')
        # A name, never a place: of a run that was copied, the copy's.
        checkpoint = Path(folder, Path(checkpoint).name)
        runner.load_checkpoint(str(checkpoint), strict=True)
        metrics = published_names(runner.test())
        shown = ', '.join(f'{key}: {value:.4f}' for key, value in metrics.items())
        runner.logger.info(f'test of the {name} checkpoint ({checkpoint.name}): {shown}')


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, merge, run."""
    args = parse_args(argv, prog)
    check_files(args, 'config')
    # Threads that wait must not hold a core that reading processes need; read as torch loads.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

    from mmaction.config.from_args import apply_train_args
    from mmaction.config.load import load_config
    from mmaction.distributed.collectives import close_processes
    from mmaction.distributed.launch import init_processes, name_processes
    from mmaction.engine.optimizers.amp import set_precision
    from mmaction.engine.runner import ActionRunner
    from mmaction.engine.runner.resume import set_resume

    with user_errors(setup=True):
        name_processes(args.launcher)
        cfg = load_config(args.config, args.cfg_options)
        processes = init_processes(args.launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
        # After the ranks have met, which have to agree on what --amp finds fastest.
        apply_train_args(cfg, args)
        set_resume(cfg, args.resume_from or args.resume)
        if args.amp:
            set_precision(cfg, args.amp)
        cfg.launcher = processes.launcher
        runner = ActionRunner.from_cfg(cfg)
        runner.prepare('train')
        if args.test_last or args.test_best:
            runner.prepare('test')
    with user_errors(setup=False):
        runner.train()
        if runner.stop_signal is None:
            test_after(runner, args)
    close_processes()
    if runner.stop_signal is not None:
        sys.exit(128 + runner.stop_signal)
