"""What of the log is shown on the console: what a person reads, not what a file keeps."""

from __future__ import annotations

import io
import logging
import sys

from mmengine.logging import MMLogger

__all__ = ['quiet_console']

_FILE_ONLY = (
    'Hooks will be executed',
    'Distributed training is not used',
    'paramwise_options',
    'Checkpoints will be saved',
    'Exp name',
    'Gradient accumulative may slightly',
    'Dataset ',
)
"""Beginnings of mmengine's messages that go to the log file alone."""
_FROZEN = 'is skipped since its requires_grad=False'
"""Part of the warning that mmengine gives for each parameter that the config freezes."""


class _ConsoleFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        for_file = text.startswith(_FILE_ONLY) or text.endswith(_FROZEN)
        return record.levelno >= logging.ERROR or not for_file


class _ConsoleFormatter(logging.Formatter):
    """`12:34:56  message`, with the level only where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            color = '\033[31m' if record.levelno >= logging.ERROR else '\033[33m'
            level = record.levelname
            if sys.stdout.isatty():
                level = f'{color}{level}\033[0m'
            text = f'{level}: {text}'
        return f'{self.formatTime(record, "%H:%M:%S")}  {text}'


def quiet_console(logger: MMLogger) -> None:
    """Make the console handler of a logger brief; the log file still gets everything.

    File names that are not UTF-8 are written with backslashes instead of failing.
    """
    for handler in logger.handlers:
        stream = getattr(handler, 'stream', None)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setFormatter(_ConsoleFormatter())
            handler.addFilter(_ConsoleFilter())
