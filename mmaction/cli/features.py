r"""Store the features of a list of clips: `mmaction features CONFIG CHECKPOINT --out DIR`.

A second run computes only what is missing. Several processes share the work under torchrun:

    torchrun --nproc-per-node 4 tools/extract_features.py CONFIG CHECKPOINT --out DIR \
        --launcher pytorch

On several machines each does a share (--shard I/N, or by itself in a job of a Slurm array), and
"mmaction merge DIR" writes the index of all of them.
"""

from __future__ import annotations

import argparse
import sys

from mmaction.utils.cli import Parser, add_cfg_options, check_files, printable, user_errors
from mmaction.utils.work_share import add_share_option

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file or address; - for none (a model of transformers)')
    add('--out', required=True, metavar='DIR', help='folder of the features, or its address')
    add('--split', choices=('train', 'val', 'test'), default='test', help='default: %(default)s')
    add('--list', metavar='FILE', help='another annotation list for this dataset')
    add('--tokens', action='store_true', help='maps of tokens instead of one vector of a clip')
    add('--all-views', action='store_true', help='mean over all views of the test pipeline')
    add('--half', action='store_true', help='store float16')
    add('--batch-size', type=int, metavar='N', help='clips at a time (default: of the config)')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add_share_option(parser)
    add_cfg_options(parser)
    add('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Extract, and say what was done."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'checkpoint', 'list')
    from mmengine.dist import is_main_process

    from mmaction.apis.features import extract_features
    from mmaction.config.load import load_config
    from mmaction.distributed.collectives import close_processes
    from mmaction.distributed.launch import init_processes, name_processes

    with user_errors(setup=True):
        name_processes(args.launcher)
        cfg = load_config(args.config, args.cfg_options)
        processes = init_processes(args.launcher)
        done = extract_features(
            cfg,
            None if args.checkpoint == '-' else args.checkpoint,
            args.out,
            split=args.split,
            kind='tokens' if args.tokens else 'pooled',
            ann_file=args.list,
            all_views=args.all_views,
            half=args.half,
            batch_size=args.batch_size,
            device=args.device or processes.device,
            share=args.shard,
        )
        if is_main_process():
            print(
                f'{args.out}: features of {done["clips"] - len(done["missing"])} of '
                f'{done["clips"]} clips, {done["kept"]} of them from an earlier run'
            )
            for name in done['missing']:
                print(f'no features of {printable(name)}: it cannot be read', file=sys.stderr)
    close_processes()
