"""Learning rates for small batches: `python tools/analysis_tools/small_batches.py`.

A pico DualFormer learns four motions of Motion Digits (left, right, and turning either way) and is
fine-tuned, with few clips of each, on the other four (up, down, growing, shrinking), and on motions
that Motion Digits does not have, along the four diagonals. For each batch, rules for learning rate
and layers are compared: the published recipe scaled in proportion to the batch (--auto-scale-lr),
with its square root and not at all; and that of `mmaction finetune`, alone, with frozen stages and
with layer decay. Seeds draw training clips, head and order; validation clips are the same. Writes
results.json and table.md to the work dir. Run again, it does what is missing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

CONFIG = 'dualformer_pico_motion_digits'
OLD, NEW = (0, 1, 4, 5), (2, 3, 6, 7)  # motions to pretrain and to fine-tune on
BATCHES = (2, 8, 32, 64)
RULES = {
    'linear': 'published recipe, rate x batch/64 (`--auto-scale-lr`)',
    'sqrt': 'published recipe, rate x sqrt(batch/64)',
    'unscaled': 'published recipe, rate as for 64',
    'finetune': 'backbone at the full rate, x sqrt(batch/16)',
    'unscaled-full': 'backbone at the full rate, as for 16',
    'frozen': 'x sqrt(batch/16), first stage frozen',
    'decay': 'x sqrt(batch/16), layer decay 0.75',
}
DIAGONALS = ('up left', 'up right', 'down left', 'down right')
TARGETS = ('half', 'diagonals')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--work-dir', type=Path, default=Path('work_dirs/small_batches'))
    add('--rules', nargs='+', choices=RULES, default=list(RULES), help='default: all')
    add('--targets', nargs='+', choices=TARGETS, default=TARGETS, help='default: both')
    add('--batches', nargs='+', type=int, default=BATCHES, help='default: 2 8 32 64')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    add('--clips', type=int, default=100, help='of a class to pretrain on (%(default)s)')
    add('--few', type=int, default=25, help='of a class to fine-tune on (%(default)s)')
    add('--val-clips', type=int, default=40, help='of a class (%(default)s)')
    add('--pretrain-epochs', type=int, default=12, help='default: %(default)s')
    add('--epochs', type=int, default=8, help='of fine-tuning (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.few > args.clips:
        parser.error(f'--few {args.few}: there are only --clips {args.clips} of each class')
    return args


def make_data(args: argparse.Namespace) -> None:
    """Make the clips; lists of both halves of the digits, and of the few clips of each seed."""
    from experiments import write_lists

    from mmaction.data_preparation.motion_digits import DIGITS, MotionSet, build

    diagonals = MotionSet('Motion Diagonals', 1, DIAGONALS, diagonal)
    for target, motions, labels in (
        ('old', DIGITS, OLD), ('half', DIGITS, NEW), ('diagonals', diagonals, (0, 1, 2, 3))
    ):  # fmt: skip
        if target != 'old' and target not in args.targets:
            continue
        root = args.work_dir / motions.name.lower().replace(' ', '_')
        count = len(motions.classes)
        build(root, args.clips * count, args.val_clips * count, workers=1, motions=motions)
        classes = {label: motions.classes[label] for label in labels}
        write_lists(args.work_dir / target, root, classes, args.few, args.seeds)


def diagonal(rng: Any, label: int) -> Any:
    """Where a digit is in each frame that moves along a diagonal: a motion of x and one of y."""
    from mmaction.data_preparation.motion_digits import DIGITS

    state = rng.bit_generator.state
    poses = DIGITS.trajectory(rng, label % 2)  # left, right
    rng.bit_generator.state = state
    poses[:, 1] = DIGITS.trajectory(rng, 2 + label // 2)[:, 1]  # up, down
    return poses


def rule_options(rule: str, batch: int) -> dict[str, Any]:
    """What a rule changes in the config."""
    if rule in ('linear', 'sqrt', 'unscaled'):
        power = dict(linear=1.0, sqrt=0.5, unscaled=0.0)[rule]
        return {
            'optim_wrapper.optimizer.lr': 1e-3 * (batch / 64) ** power,
            'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
        }
    scale = 1.0 if rule == 'unscaled-full' else (batch / 16) ** 0.5
    options: dict[str, Any] = {'optim_wrapper.optimizer.lr': 7e-4 * scale}
    if rule == 'frozen':
        options['model.backbone.frozen_stages'] = 1
    elif rule == 'decay':
        options['optim_wrapper.constructor'] = 'LearningRateDecayOptimizerConstructor'
        options['optim_wrapper.paramwise_cfg'] = dict(decay_rate=0.75)
    return options


def config(args: argparse.Namespace, target: str, folder: Path, epochs: int, **options: Any) -> Any:
    """The config of one training, which warms up for an epoch."""
    from experiments import bare

    from mmaction.config.load import load_config

    names = (args.work_dir / target / 'classes.txt').read_text(encoding='utf-8').splitlines()
    changes = {
        'data_root': str(args.work_dir / target),
        'model.cls_head.num_classes': len(names),
        'param_scheduler.0.end': 1,
        'train_cfg': dict(max_epochs=epochs, val_begin=epochs + 1),
        'default_hooks.checkpoint': dict(interval=epochs, save_best=None),
        'train_dataloader.num_workers': 0,
        'val_dataloader.num_workers': 0,
        'test_dataloader.num_workers': 0,
        **options,
    }
    cfg = bare(load_config(CONFIG, changes))
    cfg.work_dir = str(folder)
    # A mirrored motion may be one of the other half, so clips are not mirrored.
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'Flip']
    return cfg


def pretrain(args: argparse.Namespace) -> Path:
    """The model after the old motions."""
    from experiments import train

    from mmaction.utils.io import write_json

    folder: Path = args.work_dir / 'pretrain'
    if not (folder / 'accuracy.json').is_file():
        accuracy, _ = train(config(args, 'old', folder, args.pretrain_epochs))
        write_json(folder / 'accuracy.json', accuracy)
    return folder / f'epoch_{args.pretrain_epochs}.pth'


def finetune(args: argparse.Namespace, weights: Path, key: str) -> dict[str, Any]:
    """Accuracy and seconds of one fine-tuning."""
    import shutil

    from experiments import train

    target, rule, batch, seed = key.split('/')
    folder = args.work_dir / 'runs' / key.replace('/', '_')
    options = {
        'load_from': str(weights),
        'train_dataloader.batch_size': int(batch),
        'train_dataloader.dataset.ann_file': f'train_{seed}.txt',
        'randomness.seed': int(seed),
        **rule_options(rule, int(batch)),
    }
    start = time.perf_counter()
    accuracy, _ = train(config(args, target, folder, args.epochs, **options))
    shutil.rmtree(folder)
    return dict(accuracy=accuracy, seconds=round(time.perf_counter() - start, 1))


def table(results: dict[str, dict[str, Any]]) -> str:
    """Top-1 accuracies in percent as Markdown: a row for each rule, a column for each batch."""
    from experiments import cell

    parts = [key.split('/') for key in results]
    text = ''
    for target in TARGETS:
        batches = sorted({int(batch) for name, _, batch, _ in parts if name == target})
        if not batches:
            continue
        text += f'| {target}: rule | ' + ' | '.join(f'batch {batch}' for batch in batches)
        text += ' |\n| --- |' + ' ---: |' * len(batches) + '\n'
        for rule, words in RULES.items():
            cells = [
                cell([row['accuracy'] for key, row in results.items()
                      if key.startswith(f'{target}/{rule}/{batch}/')])
                for batch in batches
            ]  # fmt: skip
            if any(text != '-' for text in cells):
                text += f'| {words} | ' + ' | '.join(cells) + ' |\n'
        text += '\n'
    return text


def main(argv: list[str] | None = None) -> None:
    """Run what is missing."""
    args = parse_args(argv)
    from experiments import run_missing

    from mmaction.utils.cli import user_errors
    from mmaction.utils.io import write_text

    with user_errors(setup=True):
        args.work_dir.mkdir(parents=True, exist_ok=True)
        make_data(args)
        weights = pretrain(args)
        keys = [
            f'{target}/{rule}/{batch}/{seed}'
            for target in args.targets
            for seed in args.seeds
            for batch in args.batches
            for rule in args.rules
        ]
        results = run_missing(
            args.work_dir / 'results.json', keys, lambda key: finetune(args, weights, key)
        )
        write_text(args.work_dir / 'table.md', table(results))
        print(table(results), end='')


if __name__ == '__main__':
    main()
