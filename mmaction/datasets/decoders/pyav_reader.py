"""Frames by PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np

from mmaction.errors import UnreadableVideoError

from .reader import Indices, key_before, plain_path, read_once, unreadable

# Containers whose time stamps lead decord to the frames they belong to, and which do not crash it.
_SEEKABLE = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'flv')


class PyAVReader:
    """Frames by PyAV.

    Opening reads the packets of the file once, without decoding, to know the
    time stamp of each frame; decoding starts at the key frame before the first
    frame wanted, or else at the beginning. Where there are no time stamps, or
    they contradict the order of the frames, frames are counted.

    `in_plain_order` tells that no picture that precedes a key frame in time
    follows it in the file, and that the container has dependable time stamps.

    Args:
        filename: Path of the file, which messages name.
        content: The bytes of the file, if they are not to be read from the path.
        num_threads: Decoding threads; 0 leaves the number to FFmpeg.
        container: FFmpeg's name of the container, which it otherwise guesses.
        max_pixels: Larger frames are not decoded; any are if None.

    Raises:
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    def __init__(
        self,
        filename: str,
        content: bytes | None = None,
        num_threads: int = 1,
        *,
        container: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        import av

        self.filename = filename
        # A stream that appears in mid-file is a LookupError to PyAV.
        self._errors = (av.FFmpegError, ValueError, OSError, ArithmeticError, LookupError)
        self._num_threads = num_threads
        self._content = content
        self._format = container
        self._max_pixels = max_pixels
        self._each: Callable[[np.ndarray], np.ndarray] | None = None
        self._container: Any = None
        try:
            with unreadable(filename, *self._errors):
                self._open()
                self._read_packets()
            if not self._num_frames:
                raise UnreadableVideoError(filename, 'it holds no video frames')
        except UnreadableVideoError:
            self.close()
            raise

    def _open(self) -> None:
        import av

        content = self._content
        self._container = av.open(
            plain_path(self.filename) if content is None else io.BytesIO(content),
            format=self._format,
        )
        if not self._container.streams.video:
            raise UnreadableVideoError(self.filename, 'it holds no video stream')
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            raise UnreadableVideoError(self.filename, 'its codec is unknown')
        self._stream.thread_type = 'AUTO'
        self.use_threads(self._num_threads)
        if self._max_pixels is not None:
            self._stream.codec_context.options = dict(max_pixels=str(self._max_pixels))
        self._graph: _ToRGB | None = None

    def _read_packets(self) -> None:
        """Learn the time stamps of all frames, the key frames, and their order in the file."""
        import av

        stamps, keys, discarded = [], [], False
        # Of a file that is damaged further on, the frames before count.
        with suppress(av.FFmpegError, LookupError):
            for packet in self._container.demux(self._stream):
                if packet.size and packet.is_discard:
                    discarded = True
                elif packet.size:
                    stamps.append(packet.pts)
                    keys.append(packet.is_keyframe)
        is_key = np.asarray(keys, dtype=bool)
        self._num_frames = len(stamps)
        self._keys = np.flatnonzero(is_key)
        self._timed = None not in stamps and len(set(stamps)) == len(stamps) and bool(is_key.any())
        self.in_plain_order = False
        if not self._timed:
            return
        times = np.asarray(stamps, dtype=np.int64)
        last_key = np.maximum.accumulate(np.where(is_key, np.arange(len(times)), -1))
        # What precedes the first key frame, in the file or in time, cannot be decoded.
        lost = (last_key < 0) | (times < times[self._keys[0]])
        self._stamps = np.sort(times[~lost])
        self._keys = np.searchsorted(self._stamps, np.sort(times[is_key & ~lost]))
        self._num_frames = len(self._stamps)
        self.in_plain_order = (
            not discarded
            and not lost.any()
            and self._container.format.name in _SEEKABLE
            and bool((times >= times[last_key]).all())
        )

    def use_threads(self, num_threads: int) -> None:
        """Choose the number of decoding threads, before the first frame is decoded."""
        self._num_threads = num_threads
        self._stream.codec_context.thread_count = num_threads

    def __len__(self) -> int:
        return self._num_frames

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return float(self._stream.average_rate or self._stream.guessed_rate or 0)

    def get_batch(
        self, indices: Indices, each: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order.

        Args:
            indices: The indices.
            each: Applied to each frame (H, W, 3) before the next one is decoded, so that
                not all of them are in memory at their full size.
        """
        self._each = each
        return read_once(indices, self._read)

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self.get_batch(key_before(self._keys, indices))

    def _read(self, indices: np.ndarray) -> np.ndarray:
        try:
            with unreadable(self.filename, *self._errors):
                frames = self._decode(indices)
            if len(frames) < len(indices):
                missing = f'frame {indices[len(frames)]} of {len(self)} is damaged or missing'
                raise UnreadableVideoError(self.filename, missing)
        except UnreadableVideoError:
            self.close()
            raise
        return np.stack(frames)

    def _decode(self, indices: np.ndarray) -> list[np.ndarray]:
        """Frames at increasing indices, fewer if one is missing."""
        if self._timed:
            self._container.seek(int(self._stamps[indices[0]]), stream=self._stream)
            frames, in_order = self._decode_by_time(indices, thorough=False)
            if in_order and len(frames) < len(indices):
                self._reopen()
                frames, in_order = self._decode_by_time(indices, thorough=True)
            if in_order:
                return frames
        self._reopen()
        return self._decode_by_count(indices)

    def _decode_by_time(self, indices: np.ndarray, thorough: bool) -> tuple[list[np.ndarray], bool]:
        """Frames at increasing indices, found by their time stamps, from here on.

        Args:
            indices: The indices.
            thorough: After a gap, which may be a lost frame or a wrong time
                stamp, look at all frames to tell which; else stop there.

        Returns:
            The frames, fewer if one is missing, and whether time stamps and
            order of the frames agree.
        """
        import av

        frames: list[np.ndarray] = []
        last, has_gap = None, False
        with suppress(av.FFmpegError):
            for frame in self._container.decode(self._stream):
                position = self._position(frame)
                if position is None or (last is not None and position <= last):
                    return frames, False
                has_gap = has_gap or (last is not None and position > last + 1)
                last = position
                if has_gap and not thorough:
                    break
                if len(frames) < len(indices) and position == indices[len(frames)]:
                    frames.append(self._rgb(frame))
                if not has_gap and (len(frames) == len(indices) or position > indices[len(frames)]):
                    break
        return frames, True

    def _position(self, frame: Any) -> int | None:
        """Index of a decoded frame by its time stamp."""
        if frame.pts is None:
            return None
        position = int(np.searchsorted(self._stamps, frame.pts))
        known = position < len(self._stamps) and self._stamps[position] == frame.pts
        return position if known else None

    def _decode_by_count(self, indices: np.ndarray) -> list[np.ndarray]:
        """Frames at increasing indices, counted from here on, fewer if the file ends before."""
        import av

        frames: list[np.ndarray] = []
        with suppress(av.FFmpegError):
            for position, frame in enumerate(self._container.decode(self._stream)):
                if position == indices[len(frames)]:
                    frames.append(self._rgb(frame))
                    if len(frames) == len(indices):
                        break
        return frames

    def _reopen(self) -> None:
        """Go to the beginning, where seeking may not lead."""
        self._container.close()
        self._open()

    def _rgb(self, frame: Any) -> np.ndarray:
        if self._graph is None:
            self._graph = _ToRGB(self._stream, frame)
        image = self._graph(frame)
        return image if self._each is None else self._each(image)

    def close(self) -> None:
        """Close the file; its handle would else stay open until the next garbage collection."""
        if self._container is not None:
            self._container.close()
            self._container = self._graph = None


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
