"""Export a trained recognizer to ONNX, to OpenVINO, or with torch.export for AOTInductor.

    mmaction export CONFIG CHECKPOINT OUT.onnx
    mmaction export CONFIG CHECKPOINT OUT.pt2 [--aot]
    mmaction export CONFIG CHECKPOINT OUT.xml [--int8 LIST]

The exported model takes RGB clips (batch, 3, T, H, W), that of a Recognizer2D all frames of a
video (batch, T, 3, H, W), as float32 from 0 to 255 and gives for each clip what the recognizer
predicts of it: normalization, color order, softmax or sigmoid are inside. Batch is any number. How
clips are sampled, resized and cropped is in the metadata of the file, see docs/deployment.md.
Before the file takes its name, it is run on a decoded video and held against the recognizer.

OpenVINO (.xml, with the weights in a .bin beside it) is what runs fastest on CPUs. --int8 quantizes
it, calibrated on clips of a list (`path label`; labels are not used), which should be like those
that will be classified.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file, or - for random weights')
    add('out', type=Path, help='.onnx, .xml for OpenVINO, or .pt2 for torch.export')
    add('--aot', action='store_true', help='compile the .pt2 ahead of time, for this machine')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: the config's clips")
    add('--video', help='video on which the export is checked (default: a generated one)')
    add('--int8', metavar='LIST', help='quantize the .xml, calibrated on clips of this list')
    add('--data-prefix', metavar='DIR', help='folder of its videos (default: that of the list)')
    add('--int8-clips', type=int, default=64, metavar='N', help='clips of it (%(default)s)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.out.suffix not in ('.onnx', '.pt2', '.xml'):
        parser.error(f'{args.out}: the name has to end in .onnx, .xml or .pt2')
    if args.aot and args.out.suffix != '.pt2':
        parser.error('--aot makes a .pt2')
    if args.int8 is not None and args.out.suffix != '.xml':
        parser.error('--int8 makes an .xml, which OpenVINO runs')
    if args.data_prefix is not None and args.int8 is None:
        parser.error('--data-prefix is the folder of the videos of --int8 LIST, which is missing')
    if args.int8_clips < 1:
        parser.error(f'--int8-clips {args.int8_clips} must be at least 1')
    return args


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, export, check."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'checkpoint', 'int8')
    from mmaction.apis.calibration import Calibration
    from mmaction.apis.export import export_checked
    from mmaction.config.load import load_config

    int8 = None if args.int8 is None else Calibration(args.int8, args.data_prefix, args.int8_clips)
    with user_errors(setup=True):
        export_checked(
            load_config(args.config, args.cfg_options),
            None if args.checkpoint == '-' else args.checkpoint,
            args.out,
            aot=args.aot,
            shape=args.shape,
            video=args.video,
            int8=int8,
        )
