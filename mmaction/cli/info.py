"""Say what is installed, what the machine has, and which configs there are.

mmaction info
mmaction info --configs dualformer
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmaction.utils.cli import Parser, available_cores, user_errors
from mmaction.utils.packaged_configs import config_folder, packaged_configs

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument(
        '--configs',
        nargs='?',
        const='',
        metavar='WORD',
        help='list the configs of the package, those with WORD in their name',
    )
    return parser.parse_args(argv)


def list_configs(word: str) -> None:
    """Print the names of the configs.

    Raises:
        ValueError: None has the word in its name.
    """
    found = {name: path for name, path in packaged_configs().items() if word.lower() in name}
    if not found:
        raise ValueError(f'no config has {word!r} in its name ("mmaction info --configs" has all)')
    for name in found:
        print(name)


def machine() -> list[tuple[str, str]]:
    """Cores, memory and GPUs."""
    import torch

    from mmaction.utils.memory import available_memory

    rows = [
        ('cores', f'{available_cores()}'),
        ('memory free', f'{available_memory() / 1e9:.1f} GB'),
    ]
    gpus = range(torch.cuda.device_count())
    for i in gpus:
        properties = torch.cuda.get_device_properties(i)
        rows.append((f'cuda:{i}', f'{properties.name}, {properties.total_memory / 1e9:.1f} GB'))
    return [*rows, ('device', 'cuda:0' if gpus else 'cpu (PyTorch finds no GPU)')]


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Print it."""
    args = parse_args(argv, prog)
    with user_errors(setup=True):
        if args.configs is not None:
            list_configs(args.configs)
            return
        from mmaction.utils.environment import git_commit, versions
        from mmaction.version import __version__

        commit = git_commit()
        found = {name: value or 'not installed' for name, value in versions().items()}
        rows = [('mmaction', __version__ + (f' ({commit[:12]})' if commit else ''))]
        rows += [(name, value) for name, value in found.items() if name not in ('cuda', 'gpu')]
        rows += machine()
        rows += [('package', str(Path(__file__).parents[1]))]
        rows += [('configs', f'{len(packaged_configs())} in {config_folder()}')]
        for name, value in rows:
            print(f'{name:24}{value}')
