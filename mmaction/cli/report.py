"""Make one HTML page of a test: what is right, what is wrong, and how it looks.

    mmaction test CONFIG CHECKPOINT --dump results.json
    mmaction report CONFIG results.json --out report.html

The page holds its figures, needs no network, and can be sent as one file.
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
    add('results', type=Path, help='file of tools/test.py --dump')
    add('--out', type=Path, default=Path('report.html'), help='page to write (%(default)s)')
    add('--label-file', metavar='FILE', help='names of the classes, one a line')
    add('--mistakes', type=int, default=12, help='worst mistakes to show (%(default)s)')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Parse, read, write."""
    args = parse_args(argv, prog)
    check_files(args, 'config', 'results')
    from mmengine.registry import init_default_scope

    from mmaction.apis.report import Results, page
    from mmaction.config.load import load_config
    from mmaction.evaluation.results import labeled_results
    from mmaction.utils.class_names import class_names_of
    from mmaction.utils.io import write_text

    with user_errors(setup=True):
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope('mmaction')
        results = Results(labeled_results(args.results, cfg))
        names = class_names_of(cfg, args.label_file, results.scores.shape[1])
        text = page(results, names, f'{args.config}, {args.results}', args.mistakes)
        write_text(args.out, text)
        print(f'written: {args.out} ({len(text) / 1e6:.1f} MB)')
