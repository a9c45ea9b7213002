"""Helpers that scripts written for mmaction2 import from `mmaction.utils`."""

from __future__ import annotations

import inspect
import random
import string
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    'VideoWriter',
    'get_random_string',
    'get_shm_dir',
    'get_str_type',
    'get_thread_id',
    'track',
    'track_on_main_process',
]

T = TypeVar('T')
_CODECS = {'.mp4': 'mp4v', '.avi': 'XVID'}


def get_str_type(module: object) -> str | None:
    """The name of a class or function, or the string itself; None for anything else.

    Source: `type` of a config may be either in mmengine's configs.
    """
    if isinstance(module, str):
        return module
    return module.__name__ if inspect.isclass(module) or inspect.isfunction(module) else None


def get_random_string(length: int = 15) -> str:
    """Random letters and digits, by Python's own random state."""
    return ''.join(random.choices(string.ascii_letters + string.digits, k=length))


def get_thread_id() -> int:
    """The system's number of the current thread."""
    return threading.get_native_id()


def get_shm_dir() -> str:
    """The folder of shared memory on Linux."""
    return '/dev/shm'


def track(sequence: Iterable[T], description: str = '', total: float | None = None) -> Iterator[T]:
    """Go through a sequence behind a progress bar."""
    from tqdm import tqdm

    yield from tqdm(sequence, desc=description or None, total=total)


def track_on_main_process(
    sequence: Iterable[T], description: str = '', total: float | None = None
) -> Iterator[T]:
    """`track` on rank 0; the other ranks show no bar."""
    from mmengine.dist import is_main_process

    yield from track(sequence, description, total) if is_main_process() else sequence


class VideoWriter:
    """Writes frames, one at a time, with the codecs that OpenCV brings along.

    Args:
        video_file: .mp4 or .avi; its folder is made.
        fps: Frames per second.

    Raises:
        ValueError: The name ends otherwise.
        OSError: OpenCV cannot write it.
    """

    def __init__(self, video_file: str, fps: float) -> None:
        if Path(video_file).suffix not in _CODECS:
            raise ValueError(f'{video_file}: the name of the video must end in .mp4 or .avi')
        self.video_file, self.fps = video_file, fps
        self.writer: Any = None

    def write_frame(self, frame: np.ndarray) -> None:
        """Write a frame (H, W, 3), uint8 BGR; all have the size of the first."""
        import cv2

        if self.writer is None:
            Path(self.video_file).absolute().parent.mkdir(parents=True, exist_ok=True)
            codec = _CODECS[Path(self.video_file).suffix]
            fourcc = cv2.VideoWriter.fourcc(*codec)
            size = frame.shape[1], frame.shape[0]
            self.writer = cv2.VideoWriter(self.video_file, fourcc, self.fps, size)
            if not self.writer.isOpened():
                raise OSError(f'OpenCV cannot write {self.video_file}')
        self.writer.write(frame)

    def release(self) -> None:
        """End the file."""
        if self.writer is not None:
            self.writer.release()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()
