"""Networks compared on the built-in sets: `python tools/analysis_tools/baselines.py`.

Trains DualFormer pico, Video Swin of its size, R(2+1)D-18 at a quarter of its width, S3D, and
ResNet-18 by frames (TSN) from random weights on Motion Digits and Motion Orders, by one recipe
(that of dualformer_pico_motion_digits: AdamW, clips of 8 x 40 x 40), for several seeds, and counts
parameters and FLOPs. Each network gets the epochs that take about five minutes of one core. Writes
results.json and table.md to the work dir. Run again, it does what is missing; a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean
from typing import Any

# Its name, config, and epochs of 800 clips in about five minutes of one core.
MODELS = {
    'pico': ('DualFormer pico', 'dualformer_pico_motion_digits', 30),
    'swin': ('Video Swin, pico size', 'swin_pico_motion_digits', 20),
    'r2plus1d': ('R(2+1)D-18, width 1/4', 'r2plus1d_motion_digits', 18),
    's3d': ('S3D', 's3d_motion_digits', 6),
    'resnet18': ('ResNet-18 by frames (TSN)', 'resnet18_motion_digits', 4),
}
SETS = {'digits': 'Motion Digits', 'orders': 'Motion Orders'}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--work-dir', type=Path, default=Path('work_dirs/baselines'))
    add('--models', nargs='+', choices=MODELS, default=list(MODELS), help='default: all')
    add('--sets', nargs='+', choices=SETS, default=list(SETS), help='default: both')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    add('--clips', type=int, default=800, help='to train on (%(default)s)')
    add('--val-clips', type=int, default=200, help='to test on (%(default)s)')
    add('--epochs', type=int, help='of every network (default: what takes about five minutes)')
    return parser.parse_args(argv)


def config(args: argparse.Namespace, key: str) -> Any:
    """The config of one run: model/set/seed."""
    from experiments import bare

    from mmaction.config.load import load_config

    model, name, seed = key.split('/')
    _, config_name, epochs = MODELS[model]
    epochs = args.epochs or epochs
    cfg = load_config(config_name)
    data = load_config(f'dualformer_pico_motion_{name}')
    for loader in ('train_dataloader', 'val_dataloader'):
        cfg[loader] = data[loader]
        cfg[loader].dataset.data_root = str(args.work_dir / name)
        cfg[loader].num_workers = 0
        cfg[loader].persistent_workers = False
    cfg.model.cls_head.num_classes = data.model.cls_head.num_classes
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg = dict(cfg.train_cfg, max_epochs=epochs, val_begin=epochs + 1)
    cfg.param_scheduler[0].end = 1
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    cfg.randomness = dict(seed=int(seed))
    cfg.work_dir = str(args.work_dir / 'runs' / key.replace('/', '_'))
    return bare(cfg)


def run(args: argparse.Namespace, key: str) -> dict[str, Any]:
    """Accuracy, seconds of CPU (None if it was stopped meanwhile), parameters, FLOPs of a run."""
    import shutil

    from experiments import train
    from get_flops import count

    cfg = config(args, key)
    whole = not Path(cfg.work_dir).exists()
    start = time.process_time()
    accuracy, model = train(cfg)
    seconds = round(time.process_time() - start, 1)
    by_frame = cfg.model.type == 'Recognizer2D'
    _, flops = count(model.backbone, (8, 40, 40), by_frame=by_frame)
    parameters = sum(p.numel() for p in model.parameters())
    shutil.rmtree(cfg.work_dir)
    return dict(
        accuracy=accuracy,
        epochs=cfg.train_cfg.max_epochs,
        seconds=seconds if whole else None,
        parameters=parameters,
        gflops=flops.total() / 1e9,
    )


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown, a row for each network."""
    from experiments import cell

    lines = [
        '| network | parameters | GFLOPs | epochs | CPU time of a run | '
        + ' | '.join(f'{name}, top-1 (%)' for name in SETS.values())
        + ' |',
        '| --- |' + ' ---: |' * (4 + len(SETS)),
    ]
    for model, (title, _, _) in MODELS.items():
        rows = {key: row for key, row in results.items() if key.startswith(f'{model}/')}
        if not rows:
            continue
        first = next(iter(rows.values()))
        seconds = [row['seconds'] for row in rows.values() if row['seconds'] is not None]
        cpu_time = f'{mean(seconds):.0f} s' if seconds else '-'
        cells = []
        for name in SETS:
            found = [row['accuracy'] for key, row in rows.items() if f'/{name}/' in key]
            seeds = f' ({len(found)} seed{"s" * (len(found) > 1)})' if found else ''
            cells.append(cell(found) + seeds)
        lines.append(
            f'| {title} | {first["parameters"] / 1e6:.2f} M | {first["gflops"]:.3f} | '
            f'{first["epochs"]} | {cpu_time} | ' + ' | '.join(cells) + ' |'
        )
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    """Run what is missing."""
    args = parse_args(argv)
    from experiments import run_missing

    from mmaction.data_preparation.motion_digits import DIGITS, build
    from mmaction.data_preparation.motion_orders import ORDERS
    from mmaction.utils.cli import user_errors
    from mmaction.utils.io import write_text

    with user_errors(setup=True):
        args.work_dir.mkdir(parents=True, exist_ok=True)
        for name, motions in (('digits', DIGITS), ('orders', ORDERS)):
            if name in args.sets:
                build(args.work_dir / name, args.clips, args.val_clips, workers=1, motions=motions)
        keys = [f'{m}/{s}/{seed}' for seed in args.seeds for m in args.models for s in args.sets]
        results = run_missing(args.work_dir / 'results.json', keys, lambda key: run(args, key))
        write_text(args.work_dir / 'table.md', table(results))
        print(table(results), end='')


if __name__ == '__main__':
    main()
