"""Errors that are the user's to mend, apart from Python's own."""

from __future__ import annotations

__all__ = [
    'CheckpointError',
    'ConfigError',
    'DivergedError',
    'FileWriteError',
    'LaunchError',
    'MissingCheckpointError',
    'RemoteFileError',
    'TrainingError',
    'UnreadableVideoError',
]


class ConfigError(ValueError):
    """A config or an option on the command line that cannot be meant."""


class LaunchError(ConfigError):
    """The processes of a run do not meet; each one that fails says so."""


class TrainingError(RuntimeError):
    """A run that cannot go on, though the config was in order."""


class DivergedError(TrainingError, ValueError):
    """A model gives scores that are not finite."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, trusted, written or matched with the model."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no checkpoint at a path."""


class FileWriteError(OSError):
    """A file that cannot be written; what was in its place before is still there."""

    def __str__(self) -> str:
        return str(self.strerror)


class RemoteFileError(OSError):
    """A file on another machine cannot be read or written, after all attempts."""


class UnreadableVideoError(RuntimeError):
    """A clip cannot be opened or decoded.

    Datasets catch it: in training another sample takes the place, in testing
    the sample is marked as unreadable.

    Args:
        filename: The file or folder.
        reason: What is wrong with it, in words.
    """

    def __init__(self, filename: str, reason: str = '') -> None:
        super().__init__(filename, reason)
        self.filename = str(filename)
        self.reason = reason

    def __str__(self) -> str:
        if not self.reason:
            return self.filename
        return f'{self.filename!r} cannot be read: {self.reason}'
