"""Draw the confusion matrix of a test, and list the pairs that are confused most.

    python tools/analysis_tools/confusion_matrix.py CONFIG RESULTS.json --out MATRIX.png

RESULTS is what `tools/test.py --dump` wrote, or `--out`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmaction.utils.cli import add_cfg_options, check_files, user_errors

if TYPE_CHECKING:
    import numpy as np

READABLE = 30  # classes up to which a count fits into a cell


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('results', help='file of tools/test.py --dump or --out')
    add('--label-file', metavar='FILE', help='names of the classes, one a line')
    add('--out', '--show-path', metavar='FILE', help='picture, .png, .pdf or .svg')
    add(
        '--include-values',
        action=argparse.BooleanOptionalAction,
        help=f'write the counts into the cells (default: up to {READABLE} classes)',
    )
    add('--cmap', default='Blues', help='color map of Matplotlib (default: Blues)')
    add('--pairs', type=int, default=10, help='most confused pairs to list (default: 10)')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def pairs(matrix: np.ndarray, names: list[str], most: int) -> list[str]:
    """Lines such as `  12 of 50  running taken for walking`, the most frequent first."""
    wrong = [
        (int(count), real, found)
        for real, row in enumerate(matrix)
        for found, count in enumerate(row)
        if count and real != found
    ]
    wrong.sort(key=lambda item: (-item[0], item[1:]))
    return [
        f'{count:5d} of {int(matrix[real].sum())}  {names[real]} taken for {names[found]}'
        for count, real, found in wrong[:most]
    ]


def main() -> None:
    """Parse, count, print, draw."""
    args = parse_args()
    check_files(args, 'config', 'results')

    with user_errors(setup=True):
        from mmengine.registry import init_default_scope

        from mmaction.config.load import load_config
        from mmaction.evaluation import ConfusionMatrix
        from mmaction.evaluation.results import labeled_results
        from mmaction.utils.class_names import class_names_of
        from mmaction.utils.io import save_figure
        from mmaction.visualization import check_out_name

        if args.out is not None:
            check_out_name(args.out, ('.png', '.pdf', '.svg'))
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope('mmaction')
        samples = labeled_results(args.results, cfg)
        metric = ConfusionMatrix()
        metric.process(None, samples)
        matrix = metric.evaluate(len(samples))['confusion_matrix/result'].numpy()
        names = class_names_of(cfg, args.label_file, len(matrix))
        right, clips = int(matrix.trace()), int(matrix.sum())
        print(f'{right} of {clips} clips right ({100 * right / max(clips, 1):.1f} %)')
        print('\n'.join(pairs(matrix, names, args.pairs)) or 'no pair is confused')
        if args.out is not None:
            with_counts = args.include_values
            if with_counts is None:
                with_counts = len(matrix) <= READABLE
            figure = ConfusionMatrix.plot(matrix, with_counts, args.cmap, names, show=False)
            save_figure(figure, args.out, dpi=150)
            print(f'written: {args.out}')


if __name__ == '__main__':
    main()
