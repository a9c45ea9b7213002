"""Five ways to use a pretrained backbone, compared: `python tools/analysis_tools/transfer.py`.

A pico DualFormer learns four motions of Motion Digits (left, right, up, down), and is then used
for the other four (turning either way, growing, shrinking) with few clips of each: by full
fine-tuning, LoRA, and attentive, linear and k-NN probes of the frozen backbone. A seed draws the
training clips of the new motions, the first weights of the head and the order of the clips;
validation clips are the same. Writes results.json and table.md to the work dir. What is done is
kept: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

METHODS = ('full', 'lora', 'attentive', 'linear', 'knn')
CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
MOTIONS = 4  # classes of either half
LORA = dict(r=8, dropout=0.0)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--work-dir', type=Path, default=Path('work_dirs/transfer'), help='default: %(default)s')
    add('--methods', nargs='+', choices=METHODS, default=METHODS, help='default: all')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    add('--clips', type=int, default=100, help='training clips of each motion (%(default)s)')
    add('--few', type=int, default=25, help='of each new motion that are used (%(default)s)')
    add('--val-clips', type=int, default=40, help='of each motion (%(default)s)')
    add('--pretrain-epochs', type=int, default=12, help='default: %(default)s')
    add('--epochs', type=int, default=30, help='of fine-tuning (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.few > args.clips:
        parser.error(f'--few {args.few}: there are only --clips {args.clips} of each class')
    return args


def make_data(args: argparse.Namespace) -> Path:
    """Make the clips, and a list for either half and each seed."""
    from experiments import write_lists

    from mmaction.data_preparation.motion_digits import CLASSES, build

    root: Path = args.work_dir / 'data'
    build(root, args.clips * len(CLASSES), args.val_clips * len(CLASSES), workers=1)
    classes = list(enumerate(CLASSES))
    write_lists(root / 'old', root, dict(classes[:MOTIONS]))
    write_lists(root / 'new', root, dict(classes[MOTIONS:]), args.few, args.seeds)
    return root


def config(
    args: argparse.Namespace, half: str, work_dir: Path, seed: int, epochs: int, **options: Any
) -> Any:
    """The config of one training."""
    from mmaction.config.load import load_config

    train = 'train.txt' if half == 'old' else f'train_{seed}.txt'
    changes = {
        'data_root': str(args.work_dir / 'data' / half),
        'train_dataloader.dataset.ann_file': train,
        'model.cls_head.num_classes': MOTIONS,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': 5,
        'default_hooks.checkpoint.interval': 5,
        'randomness.seed': seed,
        'test_dataloader.num_workers': 0,
        'train_dataloader.num_workers': 0,
        'val_dataloader.num_workers': 0,
        'val_dataloader.batch_size': 20,
        **options,
    }
    cfg = load_config(CONFIG, changes)
    cfg.work_dir = str(work_dir)
    # A mirrored motion may be one of the other half, so clips are not mirrored.
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'Flip']
    return cfg


def pretrain(args: argparse.Namespace) -> Path:
    """The backbone after the old motions, as a checkpoint without head."""
    import torch
    from experiments import train

    from mmaction.utils.io import atomic_path, write_json

    path: Path = args.work_dir / 'backbone.pth'
    if not path.is_file():
        accuracy, model = train(
            config(args, 'old', args.work_dir / 'pretrain', 0, args.pretrain_epochs)
        )
        state = {f'backbone.{k}': v for k, v in model.backbone.state_dict().items()}
        with atomic_path(path) as part:
            torch.save(dict(state_dict=state), part)
        write_json(args.work_dir / 'pretrain.json', dict(accuracy=accuracy))
    return path


def run_method(args: argparse.Namespace, backbone: Path, key: str) -> dict[str, Any]:
    """Accuracy, seconds, and what is trained and saved."""
    from experiments import train

    method, number = key.split('/')
    seed = int(number)
    folder = args.work_dir / f'{method}_{seed}'
    start = time.perf_counter()
    if method in ('full', 'lora'):
        options: dict[str, Any] = {'load_from': str(backbone)}
        if method == 'lora':
            options = {
                'model.backbone.lora': dict(LORA, base=str(backbone)),
                'optim_wrapper.optimizer.lr': 3e-3,
            }
        cfg = config(args, 'new', folder, seed, args.epochs, **options)
        accuracy, model = train(cfg)
        seconds = time.perf_counter() - start
        saved = sum(v.nbytes for v in model.state_dict().values())
        return dict(accuracy=accuracy, seconds=seconds, saved=saved, **training_memory(model))
    from mmaction.apis.probe import probe_recognizer
    from mmaction.config.load import load_config

    cfg = config(args, 'new', folder, seed, 1)
    probe = dict(load_config(f'configs/probe/{method}.py', check=False)['probe'])
    if method != 'knn':
        probe['seed'] = seed
    result = probe_recognizer(cfg, with_any_head(args, backbone, cfg), probe, folder, device='cpu')
    point = result.points[0]
    size = sum(v.numel() for v in result.head.values())
    return dict(
        accuracy=point['accuracy'],
        seconds=time.perf_counter() - start,
        saved=4 * size,
        trained=0 if method == 'knn' else size,
        point={k: v for k, v in point.items() if k != 'accuracy'},
    )


def with_any_head(args: argparse.Namespace, backbone: Path, cfg: Any) -> Path:
    """The checkpoint with a head that no probe looks at."""
    import torch

    from mmaction.registry import MODELS
    from mmaction.utils.io import atomic_path

    path: Path = args.work_dir / 'backbone_and_head.pth'
    if not path.is_file():
        head = MODELS.build(cfg.model.cls_head).state_dict()
        state = torch.load(backbone, weights_only=True)['state_dict']
        with atomic_path(path) as part:
            torch.save(
                dict(state_dict={**state, **{f'cls_head.{k}': v for k, v in head.items()}}), part
            )
    return path


def training_memory(model: Any) -> dict[str, int]:
    """Trained parameters, and bytes that a step of 16 clips needs.

    Weights, gradients and the two moments of AdamW are counted; of the activations, what autograd
    keeps for the backward pass, each storage once.
    """
    import torch

    from mmaction.structures import ActionDataSample

    kept: dict[int, int] = {}

    def keep(x: Any) -> Any:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    samples = [ActionDataSample().set_gt_label(0) for _ in range(16)]
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = model(torch.zeros(16, 1, 3, 8, 40, 40), samples, mode='loss')['loss_cls']
    activations = sum(size for place, size in kept.items() if place not in weights)
    del loss
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return dict(
        trained=trained, memory=4 * total + 12 * trained + activations, activations=activations
    )


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    from statistics import mean

    from experiments import cell

    lines = [
        '| method | top-1 (mean ± sd) | seeds | trained | memory of a step | saved | seconds |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    for method in METHODS:
        rows = [row for key, row in results.items() if key.split('/')[0] == method]
        if not rows:
            continue
        memory = f'{rows[0]["memory"] / 1e6:.0f} MB' if 'memory' in rows[0] else '-'
        lines.append(
            f'| {method} | {cell([row["accuracy"] for row in rows])} | {len(rows)} | '
            f'{rows[0]["trained"]:,} | {memory} | {rows[0]["saved"] / 1e6:.2f} MB | '
            f'{mean(row["seconds"] for row in rows):.0f} |'
        )
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    """Run what is missing."""
    args = parse_args(argv)
    from experiments import run_missing

    from mmaction.utils.cli import user_errors
    from mmaction.utils.io import write_text

    with user_errors(setup=True):
        make_data(args)
        backbone = pretrain(args)
        keys = [f'{method}/{seed}' for seed in args.seeds for method in args.methods]
        results = run_missing(
            args.work_dir / 'results.json', keys, lambda key: run_method(args, backbone, key)
        )
        write_text(args.work_dir / 'table.md', table(results))
        print(table(results), end='')


if __name__ == '__main__':
    main()
