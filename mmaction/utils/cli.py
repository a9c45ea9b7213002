"""Errors that are the user's to mend, and how a command line shows them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmaction.errors import UnreadableVideoError
from mmaction.utils.checkpoint_reading import CheckpointError

__all__ = ['CheckpointError', 'ConfigError', 'TrainingError', 'user_errors']

_USER_TYPES = (ValueError, TypeError, OSError, ImportError, LookupError)


class ConfigError(ValueError):
    """A config or an option on the command line that cannot be meant."""


class TrainingError(RuntimeError):
    """A run that cannot go on, though the config was in order."""


def _is_main() -> bool:
    return os.environ.get('RANK', '0') == '0'


@contextmanager
def user_errors(*, setup: bool) -> Iterator[None]:
    """Show an error that the user can mend as one `error: ...` line and exit.

    The process ends with status 2 for a `ConfigError`, 130 on Ctrl-C and 1
    otherwise. Of several processes only the first prints, unless it is about clips, which
    each process reads by itself. With `MMACTION_TRACEBACK=1` in the environment nothing is
    caught.

    Args:
        setup: True around the steps before the first batch, where any
            `ValueError`, `TypeError`, `OSError`, ... comes from what the user
            gave. False while training or testing, where only the errors of
            this module do and everything else keeps its traceback.
    """
    own = (ConfigError, CheckpointError, TrainingError, UnreadableVideoError)
    caught = (*own, *_USER_TYPES) if setup else own
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except caught as error:
        if os.environ.get('MMACTION_TRACEBACK') == '1':
            raise
        if _is_main() or isinstance(error, UnreadableVideoError):
            print(f'error: {describe(error)}', file=sys.stderr, flush=True)
            if isinstance(error, (TypeError, ImportError, LookupError)):
                print('(MMACTION_TRACEBACK=1 shows where it was raised)', file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def describe(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error) or traceback.format_exception_only(error)[-1]
    if text.startswith('Caught ') and ' in DataLoader worker ' in text:
        # The message is at the end of the worker's traceback.
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return ' '.join(text.split())
