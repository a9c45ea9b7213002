"""Compute metrics from the saved results of a test.

    python tools/analysis_tools/eval_metric.py CONFIG RESULTS.json [--eval METRIC ...]

RESULTS is what `tools/test.py --dump` wrote, or `--out`; the labels of the latter are
those of the config's test list.
"""

from __future__ import annotations

import argparse
from typing import Any

from mmaction.cli.test import METRICS
from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('results', help='file of tools/test.py --dump or --out')
    add('--eval', nargs='+', choices=METRICS, help='metrics (default: those of the config)')
    add('--eval-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def main() -> None:
    """Parse, compute, print."""
    args = parse_args()
    check_files(args, 'config', 'results')

    with user_errors(setup=True):
        from mmengine.evaluator import Evaluator
        from mmengine.registry import init_default_scope

        from mmaction.config.from_args import set_metrics
        from mmaction.config.load import load_config
        from mmaction.errors import ConfigError
        from mmaction.evaluation.results import labeled_results
        from mmaction.utils.metric_names import published_names

        cfg = load_config(args.config, args.cfg_options)
        init_default_scope('mmaction')
        set_metrics(cfg, args.eval, args.eval_options)
        samples: list[Any] = labeled_results(args.results, cfg)
        found = cfg.get('test_evaluator') or []
        wanted = found if isinstance(found, (list, tuple)) else [found]
        # DumpResults would replace the dump of the config's own test by these results.
        evaluator = Evaluator([metric for metric in wanted if metric['type'] != 'DumpResults'])
        evaluator.process(data_samples=samples)
        metrics = evaluator.evaluate(len(samples))
        named = published_names(metrics)
        if not named:
            kinds = ', '.join(str(metric['type']) for metric in wanted) or 'it is empty'
            raise ConfigError(
                f'{args.config}: test_evaluator gives no number ({kinds}): set it to '
                "dict(type='AccMetric'), or to a list of that and what is there"
            )
        for name, value in named.items():
            print(f'{name}: {value:.4f}')


if __name__ == '__main__':
    main()
