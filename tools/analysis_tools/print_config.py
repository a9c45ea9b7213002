"""Print a config with its bases and changes, as one config file.

    python tools/analysis_tools/print_config.py CONFIG [--cfg-options KEY=VALUE ...]

A config of mmaction2 0.x is printed as what it means in the form of 1.x.
"""

from __future__ import annotations

import argparse

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Print it."""
    args = parse_args(arguments)
    check_files(args, 'config')

    with user_errors(setup=True):
        from mmaction.config.load import load_config
        from mmaction.config.source import config_source

        cfg = load_config(args.config, args.cfg_options)
        print(config_source(cfg._cfg_dict.to_dict()), end='')


if __name__ == '__main__':
    main()
