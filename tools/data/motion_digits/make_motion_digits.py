"""Make the built-in datasets: handwritten digits, labeled by their motion, or by its order.

    python tools/data/motion_digits/make_motion_digits.py [--out data/motion_digits]
    python tools/data/motion_digits/make_motion_digits.py --orders [--out data/motion_orders]

`motion_digits` and `motion_orders` of `mmaction.data_preparation` say what is in a clip, README.md
beside this file why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Make the built-in datasets: handwritten digits, labeled by their motion.'
    )
    parser.add_argument('--orders', action='store_true', help='Motion Orders, the harder set')
    parser.add_argument('--out', type=Path, help='default: data/motion_digits or _orders')
    parser.add_argument('--train-clips', type=int, default=800)
    parser.add_argument('--val-clips', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='clips made at the same time')
    parser.add_argument('--preview', type=Path, metavar='FILE.png', help='also save a picture')
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = Path('data', 'motion_orders' if args.orders else 'motion_digits')
    return args


def main(argv: list[str] | None = None) -> int:
    """Make the dataset as the command line says."""
    args = parse_args(argv)
    from mmaction.data_preparation import motion_digits
    from mmaction.data_preparation.motion_orders import ORDERS

    motions = ORDERS if args.orders else motion_digits.DIGITS
    try:
        if args.preview and args.preview.suffix.lower() != '.png':
            raise ValueError(f'--preview writes a PNG: {args.preview} must end in .png')
        manifest = motion_digits.build(
            args.out, args.train_clips, args.val_clips, args.seed, args.workers, motions
        )
        if args.preview:
            motion_digits.save_preview(args.preview, args.seed, motions=motions)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    made = f'{manifest["made"]} clips made' if manifest['made'] else 'complete already'
    print(
        f'{args.out}: {made}; {args.train_clips} clips to train, {args.val_clips} to validate, '
        f'{len(motions.classes)} classes, {motion_digits.SIDE}x{motion_digits.SIDE} pixels'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
