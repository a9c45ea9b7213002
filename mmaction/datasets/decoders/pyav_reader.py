"""Frames by PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from mmaction.errors import UnreadableVideoError

from .container import open_container, video_streams
from .h264_fields import SecondFields
from .reader import Indices, key_before, read_once, remote_content, unreadable
from .upright import UprightFrames

__all__ = ['PyAVReader']

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
        content: The bytes of the file, or a file object, if they are not to be read from
            the path.
        num_threads: Decoding threads; 0 leaves the number to FFmpeg.
        container: FFmpeg's name of the container, which it otherwise guesses.
        max_pixels: Larger frames are not decoded; any are if None.

    Raises:
        UnreadableVideoError: The file cannot be opened or has no video frames.
    """

    def __init__(
        self,
        filename: str,
        content: bytes | BinaryIO | None = None,
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
        self._content = remote_content(filename) if content is None else content
        self._format = container
        self._max_pixels = max_pixels
        self._each: Callable[[np.ndarray], np.ndarray] | None = None
        self._container: Any = None
        try:
            with unreadable(filename, *self._errors):
                self._choose_stream()
        except UnreadableVideoError:
            self.close()
            raise

    def _choose_stream(self) -> None:
        """Open the best stream that has frames."""
        self._rank, count = 0, 1
        while self._rank < count:
            self._open()
            count = len(self._streams)
            self._read_packets()
            if self._num_frames:
                return
            self._container.close()
            self._rank += 1
        raise UnreadableVideoError(self.filename, 'it holds no video frames')

    def _open(self) -> None:
        self._container = open_container(self.filename, self._content, self._format)
        self._streams = video_streams(self._container, self.filename)
        self._stream = self._streams[self._rank]
        self._stream.thread_type = 'AUTO'
        if self._max_pixels is not None:
            self._stream.codec_context.options = dict(max_pixels=str(self._max_pixels))
        self.use_threads(self._num_threads)
        self._upright: UprightFrames | None = None

    def _read_packets(self) -> None:
        """Learn the time stamps of all frames, the key frames, and their order in the file."""
        import av

        # Why not trust the header's number of frames and rate? It may be missing or wrong, and with
        # a variable rate, index / rate is another frame. Reading packets decodes nothing.
        stamps, keys, shown = [], [], []
        context = self._stream.codec_context
        is_vp8 = context.name == 'vp8'
        is_second = SecondFields(context.extradata if context.name == 'h264' else None)
        self._has_fields = False
        # Of a file that is damaged further on, the frames before count.
        with suppress(av.FFmpegError, LookupError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    if is_second.possible and is_second(bytes(packet)):
                        self._has_fields = True
                        continue
                    stamps.append(packet.pts)
                    keys.append(packet.is_keyframe)
                    # An edit list decodes frames that it does not show, such as those between
                    # a key frame and the cut; VP8 has reference frames that are never shown.
                    hidden = packet.is_discard or (is_vp8 and not bytes(packet)[0] >> 4 & 1)
                    shown.append(not hidden)
        num_packets = len(stamps)
        stamps, keys, shown = _without_leading(stamps, keys, shown)
        is_key, is_shown = np.asarray(keys, dtype=bool), np.asarray(shown, dtype=bool)
        self._num_frames = int(is_shown.sum())
        self._num_hidden = len(is_shown) - self._num_frames
        self._keys = np.cumsum(is_shown)[is_key & is_shown] - 1
        own = [stamp for stamp, show in zip(stamps, shown, strict=True) if show]
        self._timed = None not in stamps and len(set(own)) == len(own) and bool(is_key.any())
        self.in_plain_order = False
        if not self._timed or not own:
            return
        times = np.asarray(stamps, dtype=np.int64)
        last_key = np.maximum.accumulate(np.where(is_key, np.arange(len(times)), -1))
        # What precedes the first key frame, in the file or in time, cannot be decoded.
        lost = (last_key < 0) | (times < times[is_key.argmax()])
        self._stamps = np.sort(times[is_shown & ~lost])
        self._num_frames = len(self._stamps)
        # The frame that is shown first from each key frame on.
        key_times = np.sort(times[is_key & ~lost])
        self._keys = np.unique(np.searchsorted(self._stamps, key_times))
        self._keys = self._keys[self._keys < self._num_frames]
        self.in_plain_order = (
            self.has_one_stream
            and is_shown.sum() == num_packets
            and not self._has_fields
            and not lost.any()
            and self.container in _SEEKABLE
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
        if self._has_fields and self._timed and len(self) > 1:
            # The container counts fields.
            return float((len(self) - 1) / self.seconds[-1])
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
        return self.get_batch(self.key_frames_before(indices))

    def stream_facts(self) -> dict[str, Any]:
        """What the container says of the stream.

        Returns:
            `codec`, `container`, `key_frame_spacing` (most frames from one key
            frame to the next), `frames_told` (number of frames in the header, 0
            if it has none) and `frames_hidden` (by an edit list).
        """
        gaps = np.diff([*self._keys, len(self)]) if len(self._keys) else [len(self)]
        return {
            'codec': self.codec,
            'container': self.container.split(',')[0],
            'key_frame_spacing': int(max(gaps)),
            'frames_told': int(self._stream.frames),
            'frames_hidden': self._num_hidden,
        }

    def frames(self) -> Iterator[Any]:
        """The frames in order as FFmpeg decodes them (`av.VideoFrame`), not yet upright.

        Raises:
            UnreadableVideoError: One is damaged or missing.
        """
        count = 0
        with suppress(*self._errors):
            self._reopen()
            for frame in self._container.decode(self._stream):
                count += 1
                yield frame
        if count < len(self):
            raise self._missing(count)

    def first_frame(self) -> Any | None:
        """The first frame as FFmpeg decodes it, None if it cannot be decoded."""
        frames = self.frames()
        with suppress(UnreadableVideoError):
            return next(frames, None)
        return None

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self._stream.codec_context.name)

    @property
    def container(self) -> str:
        """FFmpeg's name of the container."""
        return str(self._container.format.name)

    @property
    def time_base(self) -> Fraction | None:
        """Seconds of one unit of the frames' time stamps."""
        unit: Fraction | None = self._stream.time_base
        return unit

    @property
    def is_marked_interlaced(self) -> bool:
        """Whether the container or the codec says that the video is interlaced."""
        return self._stream.codec_context.field_order not in (0, 1)

    @property
    def has_one_stream(self) -> bool:
        """Whether no other decoder can take another stream, such as a cover, for the video."""
        return len(self._container.streams.video) == 1

    def key_frames_before(self, indices: Indices) -> np.ndarray:
        """Indices of the key frames at or before the indices."""
        return key_before(self._keys, indices)

    @property
    def is_timed(self) -> bool:
        """Whether each frame has a time stamp of its own."""
        return self._timed

    @property
    def seconds(self) -> np.ndarray:
        """Time (N,) at which each frame is shown, from the first one on, if `is_timed`."""
        seconds: np.ndarray = (self._stamps - self._stamps[0]) * float(self._stream.time_base)
        return seconds

    def _read(self, indices: np.ndarray) -> np.ndarray:
        try:
            with unreadable(self.filename, *self._errors):
                frames = self._decode(indices)
            if len(frames) < len(indices):
                raise self._missing(indices[len(frames)])
        except UnreadableVideoError:
            self.close()
            raise
        return np.stack(frames)

    def _missing(self, index: int) -> UnreadableVideoError:
        reason = f'frame {index} of {len(self)} is damaged or missing'
        return UnreadableVideoError(self.filename, reason)

    def _decode(self, indices: np.ndarray) -> list[np.ndarray]:
        """Frames at increasing indices, fewer if one is missing."""
        if self._timed:
            # Seeking lands at a key frame at or before the time. The frames from there on are told
            # apart by their time stamps: counting from the key frame would be off by those of an
            # open GOP, which come after it in the file and before it in time.
            self._container.seek(int(self._stamps[indices[0]]), stream=self._stream)
            frames, in_order = self._decode_by_time(indices, thorough=False)
            if in_order and len(frames) < len(indices):
                self._reopen()
                frames, in_order = self._decode_by_time(indices, thorough=True)
            if in_order:
                return frames
        # Without time stamps to check it by, a seek may land anywhere: count from the first frame.
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
        frames: list[np.ndarray] = []
        last, has_gap = None, False
        with _until_damage():
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
        frames: list[np.ndarray] = []
        with _until_damage():
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
        if self._upright is None:
            self._upright = UprightFrames(self._stream.time_base, 'rgb24')
        image = self._upright(frame).to_ndarray()
        return image if self._each is None else self._each(image)

    def close(self) -> None:
        """Close the file; its handle would else stay open until the next garbage collection."""
        if self._container is not None:
            self._container.close()
            self._container = self._upright = None


@contextmanager
def _until_damage() -> Iterator[None]:
    """End a loop over frames where one cannot be decoded; a lack of memory is no damage."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise


def _without_leading(
    stamps: list[int | None], keys: list[bool], shown: list[bool]
) -> tuple[list[int | None], list[bool], list[bool]]:
    """Leave out pictures that follow the first key frame of a cut file and precede it in time.

    A container that cannot hold times before 0 gives them none, and decoders leave them out,
    since what they refer to has been cut off.
    """
    stop = next((i for i, stamp in enumerate(stamps) if i and stamp is not None), len(stamps))
    if stop in (1, len(stamps)) or stamps[0] is None or any(keys[1:stop]) or None in stamps[stop:]:
        return stamps, keys, shown
    return stamps[:1] + stamps[stop:], keys[:1] + keys[stop:], shown[:1] + shown[stop:]
