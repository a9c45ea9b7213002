"""Probe a frozen backbone: `mmaction probe CONFIG CHECKPOINT --probe configs/probe/linear.py`.

Features of the training and the validation list are stored in the work dir, once for all probes
of the same kind; a grid of heads is trained on them at once. KIND.json there has every point of
the grid, KIND.py and KIND.pth are the recognizer with the best head. With --features two folders
of features take the place of config and checkpoint, and only KIND.json is written.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='config file')
    add('checkpoint', nargs='?', help='checkpoint; - for none (a model of transformers)')
    add('--probe', required=True, metavar='FILE', help='config of the probe: configs/probe/*.py')
    add('--features', nargs=2, metavar=('TRAIN', 'VAL'), help='folders of stored features')
    add('--work-dir', metavar='DIR', help='default: ./work_dirs/probe_CONFIG_NAME')
    add('--half', action='store_true', help='store features as float16')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if (args.config is None) == (args.features is None):
        parser.error('give CONFIG and CHECKPOINT, or --features TRAIN VAL')
    if args.config is not None and args.checkpoint is None:
        parser.error('give a CHECKPOINT; - for none (a model of transformers)')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Probe, and print the grid."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'checkpoint')
    from mmaction.apis.probe import probe_recognizer, probe_stored
    from mmaction.config.load import load_config
    from mmaction.engine.probe import check_probe
    from mmaction.utils.io import write_json

    with user_errors(setup=True):
        probe = check_probe(load_config(args.probe, check=False).get('probe') or {})
        name = Path(args.config or args.features[0]).stem
        out = Path(args.work_dir or f'work_dirs/probe_{name}')
        start = time.perf_counter()
        if args.features:
            result, facts = probe_stored(probe, *args.features)
            report = dict(kind=probe['kind'], grid=result.points, clips=facts['clips'])
            write_json(out / f'{probe["kind"]}.json', report)
        else:
            cfg = load_config(args.config, args.cfg_options)
            checkpoint = None if args.checkpoint == '-' else args.checkpoint
            result = probe_recognizer(
                cfg, checkpoint, probe, out, device=args.device, half=args.half
            )
        for point in result.points:
            settings = ', '.join(f'{k} {v:g}' for k, v in point.items() if k != 'accuracy')
            print(f'top1_acc: {point["accuracy"]:.4f}  {settings}')
        print(f'{out / probe["kind"]}.json after {time.perf_counter() - start:.1f} s')
