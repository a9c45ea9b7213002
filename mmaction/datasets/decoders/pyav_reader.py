"""Frames by PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np

from mmaction.errors import UnreadableVideoError
from mmaction.utils.ranged_file import RangedFile

from .container import open_container, video_streams
from .deferred import DeferredFrames
from .packed_bframes import says_packed, unpacked
from .packet_cache import file_identity, has_packets, kept_packets
from .packet_table import FrameTable, PacketTable
from .reader import IN_MEMORY, Indices, key_before, read_once, remote_content, unreadable
from .references import unreferenced_test
from .upright import FrameBatch

__all__ = ['PyAVReader']

# Containers whose time stamps lead decord to the frames they belong to, and which do not crash it.
_SEEKABLE = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'flv')


class _Frames(Protocol):
    """What decoded frames are added to."""

    @property
    def count(self) -> int: ...

    def add(self, frame: Any) -> None: ...


Batch = TypeVar('Batch', bound=_Frames)


class _RawFrames:
    """Frames as they are decoded."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    @property
    def count(self) -> int:
        return len(self.frames)

    def add(self, frame: Any) -> None:
        self.frames.append(frame)


class PyAVReader:
    """Frames by PyAV.

    Opening reads the packets of the file once, without decoding, to know the
    time stamp of each frame; decoding starts at the key frame before the first
    frame wanted, or else at the beginning. Where there are no time stamps, or
    they contradict the order of the frames, frames are counted.

    Pictures that are neither wanted nor referred to are not decoded where the packets tell.

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
        self._content = remote_content(filename, by_ranges=True) if content is None else content
        self._format = container
        self._max_pixels = max_pixels
        self._container: Any = None
        try:
            with unreadable(filename, *self._errors):
                self._choose_stream()
        except UnreadableVideoError:
            self.close()
            raise

    def _choose_stream(self) -> None:
        """Open the best stream that has frames."""
        content, identity = self._content, file_identity(self.filename, self._content)
        if isinstance(content, RangedFile) and not has_packets(identity):
            # All packets are about to be read.
            content.want([(0, content.size)] if content.size <= IN_MEMORY else [])
        self._rank, count = 0, 1
        while self._rank < count:
            self._open()
            count = len(self._streams)
            self._frames = FrameTable(self._packets(identity))
            if len(self):
                return
            self._container.close()
            self._rank += 1
        raise UnreadableVideoError(self.filename, 'it holds no video frames')

    def _packets(self, identity: str | None) -> PacketTable:
        return kept_packets(
            identity,
            self._rank,
            self.container,
            lambda: PacketTable.read(self._demux(), self._stream.codec_context),
        )

    def _open(self) -> None:
        from av.stream import Discard

        self._container = open_container(self.filename, self._content, self._format)
        self._streams = video_streams(self._container, self.filename)
        self._stream = self._streams[self._rank]
        for stream in self._container.streams:
            if stream is not self._stream:  # such as sound, whose packets need not be read
                stream.discard = Discard.all
        self._stream.thread_type = 'AUTO'
        if self._max_pixels is not None:
            self._stream.codec_context.options = dict(max_pixels=str(self._max_pixels))
        self.use_threads(self._num_threads)
        context = self._stream.codec_context
        self._is_packed = context.name == 'mpeg4' and says_packed(context.extradata or b'')
        self._is_unreferenced = unreferenced_test(context.name, context.extradata)

    def _demux(self) -> Iterator[Any]:
        # PyAV frees what a generator holds where it ends or is closed, not where it is dropped.
        with closing(self._container.demux(self._stream)) as packets:
            yield from unpacked(packets, self._stream) if self._is_packed else packets

    def _decode_rest(self) -> Iterator[Any]:
        """Decode from here on."""
        for packet in self._demux():
            yield from self._stream.decode(packet)

    def use_threads(self, num_threads: int) -> None:
        """Choose the number of decoding threads, before the first frame is decoded."""
        self._num_threads = num_threads
        self._stream.codec_context.thread_count = num_threads

    def __len__(self) -> int:
        return self._frames.num_frames

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        if self._frames.has_fields and self._frames.is_timed and len(self) > 1:
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

        def read(wanted: np.ndarray) -> np.ndarray:
            batch = self._read(
                wanted, lambda: FrameBatch(len(wanted), self._stream.time_base, each)
            )
            return batch.array

        return read_once(indices, read)

    def get_deferred(self, indices: Indices, in_decoder: bool = False) -> DeferredFrames:
        """Frames of N indices in any order, decoded and not converted to RGB yet.

        Args:
            indices: The indices.
            in_decoder: See `DeferredFrames`.
        """
        wanted, order = np.unique(np.asarray(indices, np.int64).reshape(-1), return_inverse=True)
        in_turn = len(order) == len(wanted) and bool((np.diff(order) > 0).all())
        frames = self._read(wanted, _RawFrames).frames
        return DeferredFrames(frames, None if in_turn else order, in_decoder)

    def get_key_frames(self, indices: Indices) -> np.ndarray:
        """The key frames (N, H, W, 3) at or before the indices."""
        return self.get_batch(self.key_frames_before(indices))

    def stream_facts(self) -> dict[str, Any]:
        """What the container says of the stream.

        Returns:
            `codec`, `container`, `key_frame_spacing` (most frames from one key
            frame to the next), `frames_told` (number of frames in the header, 0
            if it has none) and `frames_hidden` (packets that show nothing).
        """
        keys = self._frames.keys
        gaps = np.diff([*keys, len(self)]) if len(keys) else [len(self)]
        return {
            'codec': self.codec,
            'container': self.container.split(',')[0],
            'key_frame_spacing': int(max(gaps)),
            'frames_told': int(self._stream.frames),
            'frames_hidden': self._frames.num_hidden,
        }

    def frames(self) -> Iterator[Any]:
        """The frames in order as FFmpeg decodes them (`av.VideoFrame`), not yet upright.

        Raises:
            UnreadableVideoError: One is damaged or missing.
        """
        count = 0
        with suppress(*self._errors):
            self._reopen()
            for frame in self._decode_rest():
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
        # PyAV 17, the last one for Python 3.10, does not say.
        return getattr(self._stream.codec_context, 'field_order', None) not in (0, 1)

    @property
    def has_one_stream(self) -> bool:
        """Whether no other decoder can take another stream, such as a cover, for the video."""
        return len(self._container.streams.video) == 1

    def key_frames_before(self, indices: Indices) -> np.ndarray:
        """Indices of the key frames at or before the indices."""
        return key_before(self._frames.keys, indices)

    @property
    def in_plain_order(self) -> bool:
        """Whether no picture that precedes a key frame in time follows it in the file.

        Also that the container has dependable time stamps.
        """
        in_order = self._frames.in_plain_order and not self._is_packed
        return in_order and self.has_one_stream and self.container in _SEEKABLE

    @property
    def is_timed(self) -> bool:
        """Whether each frame has a time stamp of its own."""
        return self._frames.is_timed

    @property
    def seconds(self) -> np.ndarray:
        """Time (N,) at which each frame is shown, from the first one on, if `is_timed`."""
        times = self._frames.times
        seconds: np.ndarray = (times - times[0]) * float(self._stream.time_base)
        return seconds

    def _read(self, indices: np.ndarray, start: Callable[[], Batch]) -> Batch:
        try:
            with unreadable(self.filename, *self._errors):
                frames = self._decode(indices, start)
            if frames.count < len(indices):
                raise self._missing(indices[frames.count])
        except UnreadableVideoError:
            self.close()
            raise
        return frames

    def _missing(self, index: int) -> UnreadableVideoError:
        reason = f'frame {index} of {len(self)} is damaged or missing'
        return UnreadableVideoError(self.filename, reason)

    def _decode(self, indices: np.ndarray, start: Callable[[], Batch]) -> Batch:
        """Frames at increasing indices, fewer if one is missing.

        Args:
            indices: The indices.
            start: Makes what the frames are added to, once more for a second try.
        """
        if self._frames.is_timed:
            frames = start()
            in_order = not self._can_seek or self._decode_parts(indices, frames)
            if in_order and frames.count < len(indices):
                self._reopen()
                frames = start()
                in_order = self._decode_all_by_time(indices, frames)
            if in_order:
                return frames
        # Without time stamps to check it by, a seek may land anywhere: count from the first frame.
        self._reopen()
        return self._decode_by_count(indices, start())

    @property
    def _can_seek(self) -> bool:
        """Whether frames that are decoded from a key frame on can be told by their times."""
        if self._frames.has_changes:  # which a decoder that joins in late has missed
            return False
        # Containers without times of their own number H.264 in the order of the file, though
        # pictures are shown in another; only all of them, one after the other, show it.
        is_reordered = self.codec in ('h264', 'hevc') and self._stream.codec_context.has_b_frames
        return self.container in _SEEKABLE or not (is_reordered and self._frames.in_file_order)

    def _decode_parts(self, indices: np.ndarray, frames: Batch) -> bool:
        """Add the frames at increasing indices, fewer if one does not come out, by seeking.

        Seeking lands at a key frame at or before a time. The frames from there on are told apart
        by their time stamps: counting from the key frame would be off by those of an open GOP,
        which come after it in the file and before it in time.

        Returns:
            Whether time stamps and order of the frames agree.
        """
        table, decode, parts = self._frames, self._decode_by_time, self._parts(indices)
        if table.has_fields:  # what the first of two tells, the second may not hold
            decode, parts = self._decode_all_by_time, [indices]
        self._announce(parts)
        for part in parts:
            key = self.key_frames_before(part[0])
            self._container.seek(int(table.times[key]), stream=self._stream)
            expected = frames.count + len(part)
            if not decode(part, frames):
                return False
            if frames.count < expected:
                break
        return True

    def _announce(self, parts: list[np.ndarray]) -> None:
        """Have the packets of frames at increasing indices fetched with few requests."""
        if isinstance(self._content, RangedFile):
            spans = [self._frames.span(self.key_frames_before(p[0]), p[-1]) for p in parts]
            self._content.want([span for span in spans if span is not None])

    def _parts(self, indices: np.ndarray) -> list[np.ndarray]:
        """Increasing indices, split where a key frame comes after one and not after the next."""
        if self.container not in (*_SEEKABLE, 'avi'):
            # A transport stream, say, is sought by guess: once is enough.
            return [indices]
        before = self.key_frames_before(indices[1:])
        return np.split(indices, np.flatnonzero(before > indices[:-1]) + 1)

    def _decode_by_time(self, indices: np.ndarray, frames: _Frames) -> bool:
        """Add the frames at increasing indices, found by their time stamps, from here on.

        Pictures that are neither wanted nor referred to are left out. A frame that does not
        come out where it should ends the search.

        Args:
            indices: The indices.
            frames: What they are added to; fewer if one does not come out.

        Returns:
            Whether time stamps and order of the frames agree.
        """
        from av.video.frame import PictureType

        wanted = iter(self._frames.times[indices].tolist())
        pending: set[int] = set()
        last, following = None, next(wanted)
        with _until_damage():
            for frame in self._pictures(indices, pending):
                is_known = self._frames.position(frame.pts) is not None
                if not is_known or (last is not None and frame.pts <= last):
                    return False
                # An AVI without index flags all packets of some codecs as key frames.
                if last is None and not frame.key_frame and frame.pict_type > PictureType.I:
                    return False
                earlier = {time for time in pending if time <= frame.pts}
                pending -= earlier
                if last is not None and any(last < time < frame.pts for time in earlier):
                    break
                last = frame.pts
                if last == following:
                    frames.add(frame)
                    following = next(wanted, None)
        return True

    def _pictures(self, indices: np.ndarray, sent: set[int]) -> Iterator[Any]:
        """Decode from here on what is wanted, or may be referred to, until all wanted is out.

        Args:
            indices: The increasing indices of the frames that are wanted.
            sent: To which the time stamps of the packets that are decoded are added.
        """
        times = self._frames.times
        wanted = set(times[indices].tolist())
        # Packets of frames shown earlier are waited for: they tell whether the times are right.
        first = self.key_frames_before(indices[0])
        left = set(times[first : indices[-1] + 1].tolist())
        for packet in self._demux():
            left.discard(packet.pts)
            if packet.pts in wanted or not self._can_drop(packet):
                if self._frames.position(packet.pts) is not None:
                    sent.add(packet.pts)
                yield from self._stream.decode(packet)
            if not left:
                # What was sent last is still in the decoder.
                yield from self._stream.codec_context.decode(None)
                return

    def _can_drop(self, packet: Any) -> bool:
        """Whether no other picture refers to that of a packet, as far as can be told."""
        test = self._is_unreferenced
        return test is not None and not packet.is_keyframe and test(bytes(packet))

    def _decode_all_by_time(self, indices: np.ndarray, frames: _Frames) -> bool:
        """Add the frames at increasing indices after decoding everything from here on.

        Of a gap, which may be a lost frame or a wrong time stamp, all frames tell which.

        Returns:
            Whether time stamps and order of the frames agree.
        """
        last, has_gap = None, False
        with _until_damage():
            for frame in self._decode_rest():
                position = self._frames.position(frame.pts)
                if position is None or (last is not None and position <= last):
                    return False
                has_gap = has_gap or (last is not None and position > last + 1)
                last = position
                if frames.count < len(indices) and position == indices[frames.count]:
                    frames.add(frame)
                done = frames.count == len(indices) or position > indices[frames.count]
                if done and not has_gap:
                    break
        return True

    def _decode_by_count(self, indices: np.ndarray, frames: Batch) -> Batch:
        """Add the frames at increasing indices, counted from here on, until the file ends."""
        with _until_damage():
            for position, frame in enumerate(self._decode_rest()):
                if position == indices[frames.count]:
                    frames.add(frame)
                    if frames.count == len(indices):
                        break
        return frames

    def _reopen(self) -> None:
        """Go to the beginning, where seeking may not lead."""
        self._container.close()
        self._open()

    def close(self) -> None:
        """Close the file; its handle would else stay open until the next garbage collection."""
        if self._container is not None:
            self._container.close()
            self._container = None


@contextmanager
def _until_damage() -> Iterator[None]:
    """End a loop over frames where one cannot be decoded; a lack of memory is no damage."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
