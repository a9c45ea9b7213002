"""Export a trained recognizer to ONNX, or with torch.export for AOTInductor.

    mmaction export CONFIG CHECKPOINT OUT.onnx
    mmaction export CONFIG CHECKPOINT OUT.pt2 [--aot]

The exported model takes RGB clips (batch, 3, T, H, W), that of a Recognizer2D all frames of a
video (batch, T, 3, H, W), as float32 from 0 to 255 and gives for each clip what the recognizer
predicts of it: normalization, color order, softmax or sigmoid are inside. Batch is any number. How
clips are sampled, resized and cropped is in the metadata of the file, see docs/deployment.md.
Before the file takes its name, it is run on a decoded video and held against the recognizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file, or - for random weights')
    add('out', type=Path, help='.onnx, or .pt2 for torch.export')
    add('--aot', action='store_true', help='compile the .pt2 ahead of time, for this machine')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: the config's clips")
    add('--video', help='video on which the export is checked (default: a generated one)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.out.suffix not in ('.onnx', '.pt2'):
        parser.error(f'{args.out}: the name has to end in .onnx or .pt2')
    if args.aot and args.out.suffix != '.pt2':
        parser.error('--aot makes a .pt2')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, export, check."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'checkpoint')
    from mmaction.apis.export import export_checked
    from mmaction.config.load import load_config

    with user_errors(setup=True):
        export_checked(
            load_config(args.config, args.cfg_options),
            None if args.checkpoint == '-' else args.checkpoint,
            args.out,
            aot=args.aot,
            shape=args.shape,
            video=args.video,
        )
