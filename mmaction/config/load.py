"""Reading a config file, with the changes that the command line asks for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.utils.checkpoint_reading import register_safe_loaders
from mmaction.utils.suggest import missing_file

from .check import RUNNER_KEYS, check_config
from .legacy import OLD_KEYS, convert_old_config, drop_missing_backends, is_old_config
from .options import Options, apply_options, parse_options

__all__ = ['load_config', 'read_config']


def load_config(path: str | Path, options: Options = None, *, check: bool = True) -> Config:
    """Read a config, apply options to it and check every key.

    One of mmaction2 0.x is read as what it means in the form of 1.x; what has no
    counterpart is told on stderr.

    Args:
        path: A config file of mmengine's kind (`_base_`, `{{$ENV:default}}`).
        options: `key=value` strings as `--cfg-options` takes them, or the
            parsed dict. Keys are dotted paths; list items go by their index.
            An option that changes a variable of the config (`data_root=...`)
            also changes what was made of it: an equal value in the model, the
            datasets and so on. Of a 0.x config they may name old keys or new ones.
        check: Whether unknown keys and types are errors.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: A key, type or option is unknown, or the file fails to run.
    """
    register_safe_loaders()
    cfg = read_config(path)
    changes = options if isinstance(options, dict) else parse_options(options or ())
    if is_old_config(cfg):
        return _load_old(cfg, changes, check=check)
    if changes:
        apply_options(cfg, changes)
    if check:
        check_config(cfg)
    # A config without the base that says so means the same.
    cfg.setdefault('default_scope', 'mmaction')
    return cfg


def read_config(path: str | Path) -> Config:
    """A config as its file and bases say it, of either form and unchecked.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file fails to run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(missing_file(path, 'config file'))
    try:
        return Config.fromfile(str(path))
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:
        raise ConfigError(f'{path} cannot be read as a config: {error}') from error


def _load_old(cfg: Config, changes: dict[str, Any], *, check: bool) -> Config:
    """Read a config of mmaction2 0.x; options of 1.x apply to what becomes of it."""
    # Both forms have train_cfg and test_cfg: those of 0.x only where the file gives them.
    later = (RUNNER_KEYS - OLD_KEYS | {'train_cfg', 'test_cfg'}) - set(cfg)
    new_options = {key: changes[key] for key in changes if key.split('.')[0] in later}
    apply_options(
        cfg, {k: v for k, v in changes.items() if k not in new_options}, RUNNER_KEYS | OLD_KEYS
    )
    try:
        new, notes = convert_old_config(cfg)
    except ConfigError as error:
        raise ConfigError(f'{cfg.filename} (of mmaction2 0.x): {error}') from error
    notes += drop_missing_backends(new)
    # Slurm says its own rank until the process group is there.
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        print(
            f'note: {cfg.filename} has the form of mmaction2 0.x and is read as it was meant; '
            'tools/misc/migrate_config.py writes the new form',
            *notes,
            sep='\n',
            file=sys.stderr,
        )
    try:
        apply_options(new, new_options)
        if check:
            check_config(new)
    except ConfigError as error:
        raise ConfigError(f'{error} (in the new form of {cfg.filename})') from error
    return new
