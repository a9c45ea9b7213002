"""Readers of video files: decord, PyAV, and a blank stand-in.

A reader knows its number of frames and its rate, and decodes any frames of it.
Frame i is the i-th frame in order of presentation, counted from 0; pixels are
uint8 RGB with the rotation of the file applied. Whatever is wrong with a file
ends in `UnreadableVideoError`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .errors import UnreadableVideoError

__all__ = ['BlankReader', 'DecordReader', 'PyAVReader', 'VideoReader']


class VideoReader(Protocol):
    """What the decoding transforms need of a reader."""

    filename: str

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def get_avg_fps(self) -> float:
        """Frames per second."""
        ...

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


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

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Black frames (N, H, W, 3)."""
        return np.zeros((len(indices), *self._shape[1:], 3), np.uint8)

    def close(self) -> None:
        """Nothing is open."""


class DecordReader:
    """Frames by decord.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to decord.

    Raises:
        UnreadableVideoError: decord cannot open the file.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        import decord

        self.filename = filename
        # decord's errors have no common base, and its checks of a file are assertions.
        self._errors = (
            decord.DECORDError,
            decord.DECORDLimitReachedError,
            AssertionError,
            RuntimeError,
            StopIteration,
            IndexError,
        )
        source = filename if content is None else io.BytesIO(content)
        try:
            self._reader = decord.VideoReader(source, num_threads=num_threads)
            self._fps = float(self._reader.get_avg_fps())
        except self._errors as error:
            raise UnreadableVideoError(filename, _first_line(error)) from None

    def __len__(self) -> int:
        return len(self._reader)

    def get_avg_fps(self) -> float:
        """Frames per second."""
        return self._fps

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB; each is decoded once, however often it is asked for."""
        try:
            return self._reader.get_batch(indices).asnumpy()
        except self._errors as error:
            raise UnreadableVideoError(self.filename, _first_line(error)) from None

    def get_key_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        keys = np.asarray(self._reader.get_key_indices())
        before = np.searchsorted(keys, indices, side='right') - 1
        return self.get_batch(keys[np.maximum(before, 0)])

    def close(self) -> None:
        """Close the file."""
        self._reader = None


class PyAVReader:
    """Frames by PyAV.

    Opening reads the packets of the file once, without decoding, to know the
    time stamp of each frame; decoding then starts at the key frame before.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to FFmpeg.

    Raises:
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    def __init__(self, filename: str, content: bytes | None = None, num_threads: int = 1) -> None:
        import av

        self.filename = filename
        self._errors = (av.FFmpegError, ValueError, OSError)
        self._num_threads = num_threads
        self._source: Any = filename if content is None else io.BytesIO(content)
        try:
            self._container = av.open(self._source)
            if not self._container.streams.video:
                raise UnreadableVideoError(filename, 'it holds no video stream')
            self._stream = self._container.streams.video[0]
            self._stream.codec_context.thread_count = num_threads
            self._stamps = self._read_stamps()
        except self._errors as error:
            raise UnreadableVideoError(filename, _first_line(error)) from None
        if not len(self._stamps):
            raise UnreadableVideoError(filename, 'it holds no video frames')

    def _read_stamps(self) -> np.ndarray:
        """Presentation time of each frame, in order; -1 throughout where the file has none."""
        stamps = [
            packet.pts
            for packet in self._container.demux(self._stream)
            if packet.size and not packet.is_discard
        ]
        if None in stamps or len(set(stamps)) < len(stamps):
            return np.full(len(stamps), -1)
        return np.sort(np.asarray(stamps, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._stamps)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return float(self._stream.average_rate or self._stream.guessed_rate or 0)

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB; each is decoded once, however often it is asked for."""
        wanted, inverse = np.unique(np.asarray(indices), return_inverse=True)
        try:
            frames = self._decode(wanted)
        except self._errors as error:
            raise UnreadableVideoError(self.filename, _first_line(error)) from None
        if len(frames) < len(wanted):
            raise UnreadableVideoError(
                self.filename,
                f'frame {wanted[len(frames)]} of the {len(self)} it claims is missing',
            )
        return np.stack([frames[i] for i in inverse])

    def _decode(self, wanted: np.ndarray) -> list[np.ndarray]:
        """The frames at sorted indices, fewer if the file ends before."""
        position = 0
        if self._stamps[0] < 0:
            self._container.seek(0)
        else:
            self._container.seek(int(self._stamps[wanted[0]]), stream=self._stream, backward=True)
        frames: list[np.ndarray] = []
        for frame in self._container.decode(self._stream):
            if self._stamps[0] >= 0:
                position = int(np.searchsorted(self._stamps, frame.pts))
            if position == wanted[len(frames)]:
                frames.append(_to_rgb(frame))
                if len(frames) == len(wanted):
                    break
            position += 1
        return frames

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def _to_rgb(frame: Any) -> np.ndarray:
    """One decoded PyAV frame, upright."""
    image = frame.to_ndarray(format='rgb24')
    turns = round(frame.rotation / 90) % 4
    return np.rot90(image, turns) if turns else image


def _first_line(error: BaseException) -> str:
    """The first line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
