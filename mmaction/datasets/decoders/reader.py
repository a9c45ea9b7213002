"""What all readers of video files share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

import numpy as np

from mmaction.errors import UnreadableVideoError
from mmaction.utils.remote import is_remote, ranged_file, read_or_open, redacted, settings

__all__ = [
    'IN_MEMORY',
    'BlankReader',
    'Indices',
    'VideoReader',
    'key_before',
    'plain_path',
    'read_once',
    'remote_content',
    'unreadable',
    'video_path',
]

Indices = Sequence[int] | np.ndarray


class VideoReader(Protocol):
    """What the decoding transforms need of a reader."""

    filename: str

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        ...

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order.

        Each frame is decoded once, however often it is asked for.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


IN_MEMORY = 256 << 20
# Playlists name further addresses, which FFmpeg follows by itself.
_STREAMS = ('.m3u8', '.mpd')


def remote_content(filename: str, by_ranges: bool = False) -> bytes | BinaryIO | None:
    """The content of a remote file, of a large one as a file object; None for a local path.

    Args:
        filename: Its address or path.
        by_ranges: With MMACTION_PACKETS and without MMACTION_CACHE, give a `RangedFile`, of which
            a reader that knows where its packets lie fetches no more than those.

    Raises:
        UnreadableVideoError: It cannot be fetched.
    """
    if not is_remote(filename) or filename.partition('?')[0].endswith(_STREAMS):
        return None
    try:
        if by_ranges and os.environ.get('MMACTION_PACKETS') and settings().cache is None:
            file = ranged_file(filename)
            if file is not None:
                return file  # type: ignore[return-value]
        return read_or_open(filename, IN_MEMORY)
    except OSError as error:
        reason = str(error).removeprefix(f'{redacted(filename)}: ')
        raise UnreadableVideoError(redacted(filename), reason) from None


def plain_path(filename: str) -> str:
    """A path in a form that is no URL: a colon in a relative path means a protocol to FFmpeg."""
    return filename if '://' in filename else os.path.abspath(filename)  # noqa: PTH100 (links stay)


def video_path(filename: str) -> str:
    """The path of a video on disk: `.mp4` is added to a name without extension if need be."""
    if os.path.splitext(filename)[1] or os.path.exists(filename):
        return filename
    return f'{filename}.mp4'


class unreadable:
    """Turn errors of a decoder into `UnreadableVideoError`.

    Not a generator: from Python 3.12 on its frame and the error would refer to each other, and
    keep the file open until the next garbage collection.

    Args:
        filename: The file that is read.
        errors: Of these types.
    """

    def __init__(self, filename: str, *errors: type[BaseException]) -> None:
        self._filename = filename
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, self._errors):
            # FFmpeg's own numbers of errors and the name of the file say nothing more.
            text = getattr(error, 'strerror', None) or str(error)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            reason = lines[0] if lines else type(error).__name__
            raise UnreadableVideoError(self._filename, reason) from None


def read_once(indices: Indices, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Frames at any indices by a function that takes increasing ones."""
    wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    if (np.diff(wanted) > 0).all():
        return read(wanted)
    unique, inverse = np.unique(wanted, return_inverse=True)
    return read(unique)[inverse]


def key_before(keys: np.ndarray, indices: Indices) -> np.ndarray:
    """The last of the sorted indices of key frames that is not after each index."""
    return keys[np.maximum(np.searchsorted(keys, indices, side='right') - 1, 0)]


class BlankReader:
    """Black frames in the place of a file that cannot be read.

    Args:
        filename: The file it stands for.
        num_frames: Number of frames.
        height: Height in pixels.
        width: Width in pixels.
    """

    def __init__(
        self, filename: str, num_frames: int = 300, height: int = 256, width: int = 340
    ) -> None:
        self.filename = filename
        self._shape = (num_frames, height, width)

    def __len__(self) -> int:
        return self._shape[0]

    def get_avg_fps(self) -> float:
        """Frames per second."""
        return 30.0

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Black frames (N, H, W, 3)."""
        return np.zeros((len(indices), *self._shape[1:], 3), np.uint8)

    def close(self) -> None:
        """Nothing is open."""
