"""Everything there is to measure on a GPU, in one command of at most 8 minutes on an H100.

    python tools/analysis_tools/benchmark_gpu.py --out DIR [--only PART ...] [--resume]

Writes DIR/results.json, DIR/results.md and DIR/log.txt. Each part runs in a process of its own
with a time limit of its own, cheapest first, and the results are replaced as a whole after each,
so what was measured is there whatever happens. `--resume` keeps the parts that were measured whole,
`--only` those that are not named.

    python tools/analysis_tools/benchmark_gpu.py --out DIR --docs docs/performance.md

puts the tables of a finished run into the page instead. `--small` tries the command with tiny
sizes, also on a CPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMITS = {
    'machine': 30,
    'attention': 60,
    'position': 150,
    'profile': 45,
    'infer': 120,
    'train': 150,
    'peers': 90,
    'memory': 90,
    'loader': 60,
    'tests': 240,
    'quickstart': 240,
    'compiled': 300,
    'compiled profile': 120,
}
"""Seconds that each part of gpu_parts.py may take; cheapest first."""

BEGIN, END = '<!-- gpu: begin -->', '<!-- gpu: end -->'
NOT_RUN = 'Not yet run.'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--out', required=True, metavar='DIR', help='folder of the results')
    add('--only', nargs='+', choices=LIMITS, metavar='PART', help=f'of {", ".join(LIMITS)}')
    add('--resume', action='store_true', help='keep the parts of DIR that succeeded')
    add('--minutes', type=float, default=8, help='time for everything (default: 8)')
    add('--small', action='store_true', help='tiny sizes, to try the command; also on a CPU')
    add('--docs', metavar='PAGE', help='measure nothing; put the tables of DIR into this page')
    args = parser.parse_args(arguments)
    if args.minutes <= 0:
        parser.error('--minutes has to be above 0')
    return args


def measure(name: str, limit: float, small: bool, log: Path) -> dict[str, Any]:
    """Rows of a part, or why there are none, from a process that ends within `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'rows.json')
        command = [sys.executable, '-m', 'tools.analysis_tools.gpu_parts', name, str(file)]
        command += ['--small'] if small else []
        start = time.monotonic()
        with log.open('a', encoding='utf-8') as stream:
            stream.write(f'\n=== {name}\n')
            stream.flush()
            # A group of its own, so that what it starts ends with it.
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True
            )
            try:
                status = child.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        result: dict[str, Any] = dict(seconds=round(time.monotonic() - start, 1))
        if file.is_file():
            result['rows'] = json.loads(file.read_text())
        if status == 0 and 'rows' in result:
            return result
        why = f'took longer than {limit:.0f} s' if status is None else f'status {status}'
        return result | dict(error=f'{why}; see log.txt')


def measured_before(file: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """The parts of earlier results, by name; none where there are no results.

    Raises:
        ValueError: They are of another machine or size, which one table must not mix.
    """
    if not file.is_file():
        return {}
    before = json.loads(file.read_text())
    for key, value in machine.items():
        if before['machine'].get(key) != value:
            found = before['machine'].get(key)
            raise ValueError(
                f'{file} was measured with {key} {found}, now it is {value}: choose another --out'
            )
    parts: dict[str, Any] = before['parts']
    return parts


def facts(small: bool) -> dict[str, Any]:
    """What the results were measured on."""
    import torch

    on_gpu = torch.cuda.is_available()
    return dict(
        device=torch.cuda.get_device_name() if on_gpu else platform.processor() or 'CPU',
        torch=torch.__version__,
        cuda=torch.version.cuda if on_gpu else None,
        cudnn=torch.backends.cudnn.version() if on_gpu else None,
        python=platform.python_version(),
        cores=os.cpu_count(),
        small=small,
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table in Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value: Any) -> str:
        text = f'{value:.4g}' if isinstance(value, float) else str(value)
        return text.replace('|', '\\|')

    lines = ['| ' + ' | '.join(columns) + ' |', '|' + '---|' * len(columns)]
    lines += ['| ' + ' | '.join(cell(row.get(key, '')) for key in columns) + ' |' for row in rows]
    return '\n'.join(lines)


def report(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    machine = results['machine']
    text = f'{machine["device"]}, PyTorch {machine["torch"]}, CUDA {machine["cuda"]}, '
    text += f'cuDNN {machine["cudnn"]}, Python {machine["python"]}, {machine["cores"]} cores.\n'
    if machine['small']:
        text += '\nA trial with tiny sizes: these figures mean nothing.\n'
    for name, part in results['parts'].items():
        text += f'\n### {name.capitalize()}\n\n'
        shown = [table(part['rows'])] if part.get('rows') else []
        shown += [f'Failed: {part["error"]}'] if 'error' in part else []
        text += '\n\n'.join(shown) + '\n'
    return text


def into_docs(page: Path, results: dict[str, Any] | None) -> None:
    """Put the tables, or that there are none, between the marks of a page.

    Raises:
        ValueError: The page has no marks, or the results are of a trial.
    """
    from mmaction.utils.io import write_text

    text = page.read_text('utf-8')
    if BEGIN not in text or END not in text:
        raise ValueError(f'{page} needs the lines {BEGIN} and {END} around its GPU section')
    if results is not None and results['machine']['small']:
        raise ValueError('the results are of a trial (--small), which does not belong into docs')
    before, _, rest = text.partition(BEGIN)
    body = NOT_RUN if results is None else report(results).strip()
    write_text(page, f'{before}{BEGIN}\n{body}\n{END}{rest.partition(END)[2]}')


def main(arguments: list[str] | None = None) -> None:
    """Run the parts and write the results after each."""
    args = parse_args(arguments)
    from mmaction.utils.cli import user_errors
    from mmaction.utils.io import write_text

    out = Path(args.out)
    file = out / 'results.json'
    with user_errors(setup=True):
        if args.docs:
            into_docs(Path(args.docs), json.loads(file.read_text()) if file.is_file() else None)
            return
        out.mkdir(parents=True, exist_ok=True)
        machine = facts(args.small)
        if machine['cuda'] is None and not args.small:
            raise ValueError('there is no GPU here; --small tries the command with tiny sizes')
        parts = measured_before(file, machine) if args.resume or args.only else {}
    end = time.monotonic() + 60 * args.minutes
    for name in args.only or LIMITS:
        if args.resume and 'error' not in parts.get(name, {'error': 'not measured yet'}):
            continue
        limit = min(LIMITS[name], end - time.monotonic())
        if limit > 5:
            parts[name] = measure(name, limit, args.small, out / 'log.txt')
        else:
            parts[name] = dict(error=f'no time was left of {args.minutes:g} minutes; --resume')
        ordered = {known: parts[known] for known in LIMITS if known in parts}
        results = dict(machine=machine, parts=ordered)
        write_text(file, json.dumps(results, indent=1) + '\n')
        write_text(out / 'results.md', report(results))
        print(
            name,
            parts[name].get('error', 'done'),
            f'({parts[name].get("seconds", 0)} s)',
            flush=True,
        )


if __name__ == '__main__':
    main()
