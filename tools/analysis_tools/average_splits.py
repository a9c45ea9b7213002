"""Average what tests of several splits gave, as HMDB51 and UCF101 are reported.

    python tools/analysis_tools/average_splits.py DIR1 DIR2 DIR3 [--out mean.json]

DIR is the work dir of a test, or its metrics.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('results', nargs='+', type=Path, help='work dirs of tests, or their metrics.json')
    add('--out', type=Path, metavar='FILE', help='write the means and the figures as JSON')
    return parser.parse_args(arguments)


def read_metrics(path: Path) -> dict[str, float]:
    """The figures of a test.

    Args:
        path: The metrics.json that `tools/test.py` writes, or its folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON object, or holds no figure.
    """
    path = path / 'metrics.json' if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f'there is no {path}: tools/test.py --work-dir writes it')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is not the metrics.json of a test: {error}') from None
    figures = content.items() if isinstance(content, dict) else ()
    found = {key: value for key, value in figures if isinstance(value, float)}
    if not found:
        raise ValueError(f'{path} is not the metrics.json of a test: it holds no figure')
    return found


def average(paths: list[Path]) -> dict[str, tuple[float, list[float]]]:
    """Mean and figures of each metric.

    Raises:
        ValueError: A test is given twice, or tests have other metrics.
    """
    whole = [path.resolve() / 'metrics.json' if path.is_dir() else path.resolve() for path in paths]
    twice = [path for number, path in enumerate(whole) if path in whole[:number]]
    if twice:
        raise ValueError(f'{twice[0]} is given twice')
    results = [read_metrics(path) for path in paths]
    for path, result in zip(paths, results, strict=True):
        if set(result) != set(results[0]):
            raise ValueError(
                f'{path} has the metrics {sorted(result)}, but {paths[0]} has '
                f'{sorted(results[0])}: test all splits with the same --eval'
            )
    figures = {name: [result[name] for result in results] for name in results[0]}
    return {name: (sum(values) / len(values), values) for name, values in figures.items()}


def main() -> None:
    """Parse, average, print."""
    args = parse_args()
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'results')

    from mmaction.utils.io import write_json

    with user_errors(setup=True):
        means = average(args.results)
        for name, (mean, values) in means.items():
            print(f'{name}: {mean:.4f} ({", ".join(f"{value:.4f}" for value in values)})')
        if args.out is not None:
            content = {
                name: dict(mean=mean, splits=values) for name, (mean, values) in means.items()
            }
            write_json(args.out, content)


if __name__ == '__main__':
    main()
