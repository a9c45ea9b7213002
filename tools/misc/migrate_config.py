"""Write a config of mmaction2 0.x in the form of 1.x.

    python tools/misc/migrate_config.py OLD NEW [--overwrite]

tools/train.py, tools/test.py and the demos read 0.x configs as they are; this is for those who
want to go on with the new form. NEW is checked to be read as OLD is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('old', metavar='OLD', help='config of mmaction2 0.x, with its bases')
    parser.add_argument('new', metavar='NEW', help='config file to write, NAME.py')
    parser.add_argument('--overwrite', action='store_true', help='replace NEW if it exists')
    return parser.parse_args(arguments)


def check_target(args: argparse.Namespace) -> Path:
    """The file to write.

    Raises:
        ValueError: It is no place to write to.
    """
    new = Path(args.new)
    if new.suffix != '.py':
        raise ValueError(f'{new}: a config file ends in .py')
    if new.resolve() == Path(args.old).resolve():
        raise ValueError(f'{new} is the old config itself: choose another name')
    if not new.parent.is_dir():
        raise ValueError(f'there is no folder {new.parent} to write {new.name} to')
    if new.exists() and not args.overwrite:
        raise ValueError(f'{new} exists: choose another name, or give --overwrite')
    return new


def new_text(cfg: Mapping[str, Any], new: Path, header: list[str]) -> str:
    """The text of the new config.

    Within this checkout it has the shared runtime settings as its base and says
    only what differs; elsewhere it holds everything.
    """
    from mmaction.config.legacy.runtime import runtime_file, standard_runtime
    from mmaction.config.source import Name, config_source, difference

    values: dict[str, Any] = {}
    runtime = runtime_file()
    if runtime.parents[2] in new.resolve().parents:
        values['_base_'] = Path(os.path.relpath(runtime, new.resolve().parent)).as_posix()
        values.update(difference(standard_runtime(), cfg))
    else:
        values.update(cfg)
    # A pipeline is written once, under its name.
    for split in ('train', 'val', 'test'):
        loader, name = values.get(f'{split}_dataloader'), f'{split}_pipeline'
        if loader and name in values and loader['dataset'].get('pipeline') == values[name]:
            dataset = {**loader['dataset'], 'pipeline': Name(name)}
            values[f'{split}_dataloader'] = {**loader, 'dataset': dataset}
    if values.get('test_evaluator') and values['test_evaluator'] == values.get('val_evaluator'):
        values['test_evaluator'] = Name('val_evaluator')
    comments = ''.join(f'# {line}\n' for line in header)
    return comments + config_source(values)


def main(arguments: list[str] | None = None) -> None:
    """Read, convert, write, check."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'old')

    from mmaction.utils.io import write_text

    with user_errors(setup=True):
        from mmaction.config.check import check_config
        from mmaction.config.legacy import convert_old_config, is_old_config
        from mmaction.config.load import load_config, read_config
        from mmaction.errors import ConfigError

        new = check_target(args)
        old = read_config(args.old)
        if not is_old_config(old):
            raise ConfigError(f'{args.old} has none of the keys of an mmaction2 0.x config')
        cfg, notes = convert_old_config(old)
        check_config(cfg)
        for note in notes:
            print(note, file=sys.stderr)
        values = cfg._cfg_dict.to_dict()
        header = [f'{Path(args.old).name} of mmaction2 0.x, in the form of 1.x.', *notes]
        text = new_text(values, new, header)
        write_text(new, text)
        if load_config(new)._cfg_dict.to_dict() != values:
            raise ConfigError(f'{new} was written, but is not read as {args.old} is')
        print(f'written: {new} ({len(text.splitlines())} lines), which is read as {args.old} is')


if __name__ == '__main__':
    main()
