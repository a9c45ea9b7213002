"""The packets of a video stream, and what they tell of its frames without decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from .h264_fields import SecondFields
from .packed_bframes import is_placeholder, says_packed

__all__ = ['FrameTable', 'PacketTable']

_NO_TIME = np.iinfo(np.int64).min

# Packets that show nothing: reference frames of VP8, and pictures of MPEG-4 that are not coded.
_HIDDEN: dict[str, Callable[[Any], bool]] = {
    'vp8': lambda packet: not bytes(packet)[0] >> 4 & 1,
    'mpeg4': lambda packet: packet.size < 32 and is_placeholder(bytes(packet)),
}


class PacketTable(NamedTuple):
    """The packets of a stream that hold data, in the order of the file.

    Args:
        times: Time (N,) at which each is presented, int64, in units of the stream's time base.
        is_key: Whether decoding can start there (N,).
        is_shown: Whether its picture is shown (N,).
        spans: Bytes of the file from which and to before which each lies (N, 2), int64; from -1
            where the container does not say.
        has_fields: Whether some frames have a packet for each of their two fields; the
            second one is left out.
        has_changes: Whether what the decoder has to know of the stream changes on the way, as where
            parts with different settings were joined without encoding them anew.
        is_whole: Whether reading ended with the file, not with an error.
    """

    times: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    spans: np.ndarray
    has_fields: bool
    has_changes: bool
    is_whole: bool = True

    @classmethod
    def read(cls, packets: Iterable[Any], context: Any) -> PacketTable:
        """Read the packets of a stream; of a file that is damaged further on, those before.

        Args:
            packets: The packets.
            context: The codec context of the stream.
        """
        import av

        # Why not trust the header's number of frames and rate? It may be missing or wrong, and with
        # a variable rate, index / rate is another frame. Reading packets decodes nothing.
        times: list[int] = []
        keys, shown, spans = [], [], []
        is_hidden = _HIDDEN.get(context.name)
        is_second = SecondFields(context.extradata if context.name == 'h264' else None)
        settings = bytes(context.extradata or b'')
        has_fields = has_changes = is_whole = False
        with suppress(av.FFmpegError, LookupError):
            for packet in packets:
                size = packet.size
                if size:
                    if is_second.possible and is_second(bytes(packet)):
                        has_fields = True
                        continue
                    if is_hidden and not times and says_packed(bytes(packet)):
                        # The headers did not say so: a placeholder stands for a B-frame.
                        is_hidden = None
                    time, start, is_key = packet.pts, packet.pos, packet.is_keyframe
                    times.append(_NO_TIME if time is None else time)
                    keys.append(is_key)
                    if is_key and packet.has_sidedata('new_extradata'):
                        # Live streams may say the same again and again.
                        told = bytes(packet.get_sidedata('new_extradata'))
                        has_changes = has_changes or told != settings
                    # An edit list decodes frames that it does not show, such as those between
                    # a key frame and the cut.
                    hidden = packet.is_discard or (is_hidden is not None and is_hidden(packet))
                    shown.append(not hidden)
                    start = -1 if start is None else start
                    spans.append((start, start + size))
            is_whole = True
        return cls(
            np.array(times, np.int64),
            np.array(keys, bool),
            np.array(shown, bool),
            np.array(spans, np.int64).reshape(-1, 2),
            has_fields,
            has_changes,
            is_whole,
        )

    def without_leading(self) -> PacketTable:
        """Leave out pictures that follow the first key frame of a cut file and precede it in time.

        A container that cannot hold times before 0 gives them none, and decoders leave them out,
        since what they refer to has been cut off.
        """
        has_time = self.times != _NO_TIME
        later = np.flatnonzero(has_time[1:])
        stop = int(later[0]) + 1 if len(later) else len(has_time)
        if stop in (1, len(has_time)) or self.is_key[1:stop].any():
            return self
        if not (has_time[0] and has_time[stop:].all()):
            return self
        kept = np.r_[0, stop : len(has_time)]
        return self._replace(
            times=self.times[kept],
            is_key=self.is_key[kept],
            is_shown=self.is_shown[kept],
            spans=self.spans[kept],
        )


class FrameTable:
    """The frames that are shown of a stream, by its packets.

    Args:
        packets: The packets.

    Attributes:
        num_frames: Number of frames.
        num_hidden: Number of packets that show nothing, as an edit list or their codec has it.
        has_fields: Whether some frames have two packets.
        has_changes: Whether what the decoder has to know of the stream changes on the way.
        keys: Indices of the frames shown first from each key frame on.
        is_timed: Whether each frame has a time stamp of its own.
        times: Sorted time stamps of the frames, if `is_timed`.
        in_file_order: Whether the packets lie in the order of their times.
        in_plain_order: Whether all packets are shown and no picture that precedes a key
            frame in time follows it in the file.
    """

    def __init__(self, packets: PacketTable) -> None:
        num_packets = len(packets.times)
        self.has_fields, self.has_changes = packets.has_fields, packets.has_changes
        times, is_key, is_shown, spans, *_ = packets.without_leading()
        self._packet_times, self._spans = times, spans
        self.num_frames = int(is_shown.sum())
        self.num_hidden = len(is_shown) - self.num_frames
        self.keys = np.cumsum(is_shown)[is_key & is_shown] - 1
        own = times[is_shown]
        self.is_timed = (
            bool((times != _NO_TIME).all())
            and len(np.unique(own)) == len(own)
            and bool(is_key.any())
        )
        self.in_file_order = bool((np.diff(times) > 0).all())
        self.in_plain_order = False
        if not self.is_timed or not len(own):
            return
        last_key = np.maximum.accumulate(np.where(is_key, np.arange(len(times)), -1))
        # What precedes the first key frame, in the file or in time, cannot be decoded.
        lost = (last_key < 0) | (times < times[is_key.argmax()])
        self.times = np.sort(times[is_shown & ~lost])
        self._positions = {time: place for place, time in enumerate(self.times.tolist())}
        self.num_frames = len(self.times)
        key_times = np.sort(times[is_key & ~lost])
        self.keys = np.unique(np.searchsorted(self.times, key_times))
        self.keys = self.keys[self.keys < self.num_frames]
        self.in_plain_order = (
            self.num_hidden == 0
            and not self.has_fields
            and not self.has_changes
            and len(times) == num_packets
            and not lost.any()
            and bool((times >= times[last_key]).all())
        )

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """Bytes of the file from which and to before which the packets of frames lie.

        Args:
            first: Index of a frame, if `is_timed`.
            last: Index of the last one.

        Returns:
            None if the container does not say.
        """
        times = self._packet_times
        spans = self._spans[(times >= self.times[first]) & (times <= self.times[last])]
        if not len(spans) or spans[:, 0].min() < 0:
            return None
        return int(spans[:, 0].min()), int(spans[:, 1].max())

    def position(self, time: int | None) -> int | None:
        """Index of the frame with a time stamp; None if there is none."""
        return None if time is None else self._positions.get(time)
