"""Frames by PyAV."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import UnreadableVideoError
from .reader import Indices, key_before, read_once, unreadable


class PyAVReader:
    """Frames by PyAV.

    Opening reads the packets of the file once, without decoding, to know the
    time stamp of each frame; decoding starts at the key frame before the first
    frame wanted. Where the time stamps turn out to be wrong, or nothing can be
    found by them, decoding starts anew at the beginning and frames are counted.

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
        self._errors = (av.FFmpegError, ValueError, OSError, ArithmeticError)
        self._num_threads = num_threads
        self._content = content
        with unreadable(filename, *self._errors):
            self._open()
            self._stamps, self._keys = self._read_stamps()
        if not len(self._stamps):
            raise UnreadableVideoError(filename, 'it holds no video frames')

    def _open(self) -> None:
        import av

        source = self.filename if self._content is None else io.BytesIO(self._content)
        self._container = av.open(source)
        if not self._container.streams.video:
            raise UnreadableVideoError(self.filename, 'it holds no video stream')
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = 'AUTO'
        self.use_threads(self._num_threads)
        self._graph: _ToRGB | None = None

    def _read_stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """Presentation time of each frame, in order, and the indices of key frames.

        The times are -1 throughout where those of the file say nothing.
        """
        packets = [
            (packet.pts, packet.is_keyframe)
            for packet in self._container.demux(self._stream)
            if packet.size and not packet.is_discard
        ]
        stamps = [stamp for stamp, _ in packets]
        if None in stamps or len(set(stamps)) < len(stamps):
            flags = np.asarray([is_key for _, is_key in packets], dtype=bool)
            return np.full(len(stamps), -1), np.flatnonzero(flags)
        ordered = np.sort(np.asarray(stamps, dtype=np.int64))
        keys = np.searchsorted(ordered, sorted(stamp for stamp, is_key in packets if is_key))
        return ordered, keys

    def use_threads(self, num_threads: int) -> None:
        """Choose the number of decoding threads, before the first frame is decoded."""
        self._num_threads = num_threads
        self._stream.codec_context.thread_count = num_threads

    def __len__(self) -> int:
        return len(self._stamps)

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return float(self._stream.average_rate or self._stream.guessed_rate or 0)

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self.get_batch(key_before(self._keys, indices))

    def _read(self, indices: np.ndarray) -> np.ndarray:
        with unreadable(self.filename, *self._errors):
            frames = self._decode_by_stamps(indices)
        if frames is None:
            with unreadable(self.filename, *self._errors):
                frames = self._decode_by_count(indices)
        if len(frames) < len(indices):
            raise UnreadableVideoError(
                self.filename,
                f'frame {indices[len(frames)]} of the {len(self)} it claims is missing',
            )
        return np.stack(frames)

    def _decode_by_stamps(self, indices: np.ndarray) -> list[np.ndarray] | None:
        """Frames at increasing indices; None if the time stamps do not lead to them."""
        import av

        if self._stamps[0] == self._stamps[-1] == -1:
            return None
        frames: list[np.ndarray] = []
        expected = None
        try:
            self._container.seek(int(self._stamps[indices[0]]), stream=self._stream)
            for frame in self._container.decode(self._stream):
                position = (
                    -1 if frame.pts is None else int(np.searchsorted(self._stamps, frame.pts))
                )
                known = 0 <= position < len(self) and self._stamps[position] == frame.pts
                if not known or position != (position if expected is None else expected):
                    return None
                if position > indices[len(frames)]:
                    return None
                expected = position + 1
                if position == indices[len(frames)]:
                    frames.append(self._rgb(frame))
                    if len(frames) == len(indices):
                        return frames
        except av.FFmpegError:
            return None
        return None

    def _decode_by_count(self, indices: np.ndarray) -> list[np.ndarray]:
        """Frames at increasing indices, fewer if the file ends before."""
        self._container.close()
        self._open()
        frames: list[np.ndarray] = []
        for position, frame in enumerate(self._container.decode(self._stream)):
            if position == indices[len(frames)]:
                frames.append(self._rgb(frame))
                if len(frames) == len(indices):
                    break
        return frames

    def _rgb(self, frame: Any) -> np.ndarray:
        if self._graph is None:
            self._graph = _ToRGB(self._stream, frame)
        return self._graph(frame)

    def close(self) -> None:
        """Close the file."""
        self._container.close()


class _ToRGB:
    """Turn decoded PyAV frames upright and to RGB, by the filters that decord uses.

    Frames of another size than the first are scaled to that of the first.
    """

    _turns = {
        0: (),
        90: (('transpose', '2'),),
        180: (('transpose', '1'), ('transpose', '1')),
        270: (('transpose', '1'),),
    }

    def __init__(self, stream: Any, frame: Any) -> None:
        self._stream = stream
        self._turn = self._turns[round(frame.rotation / 90) * 90 % 360]
        height, width = frame.height, frame.width
        self._size = (height, width) if len(self._turn) == 1 else (width, height)
        self._build(frame)

    def _build(self, frame: Any) -> None:
        import av

        self._form = (frame.width, frame.height, frame.format.name)
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=self._stream.time_base or Fraction(1, 1000),
        )
        steps = [*self._turn, ('scale', '{}:{}'.format(*self._size)), ('format', 'rgb24')]
        last = source
        for name, argument in [*steps, ('buffersink', None)]:
            step = graph.add(name, argument)
            last.link_to(step)
            last = step
        graph.configure()
        self._source, self._sink, self._graph = source, last, graph

    def __call__(self, frame: Any) -> np.ndarray:
        if self._form != (frame.width, frame.height, frame.format.name):
            self._build(frame)
        self._source.push(frame)
        return self._sink.pull().to_ndarray()
