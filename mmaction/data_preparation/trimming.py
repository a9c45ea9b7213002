"""Cutting segments out of videos, as files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.datasets.decoders.container import open_container, video_streams
from mmaction.datasets.decoders.reader import plain_path, unreadable
from mmaction.datasets.decoders.upright import UprightFrames
from mmaction.utils.io import atomic_path

__all__ = ['Cut', 'cut']

# As tools/data/prepare_videos.py: quick to read from any frame on.
_OPTIONS = {
    'crf': '20',
    'preset': 'fast',
    'tune': 'fastdecode',
    'threads': '1',
    'x264-params': 'keyint=16:min-keyint=1:open-gop=0:bframes=0',
}


class Cut(NamedTuple):
    """What to cut.

    Args:
        source: The video.
        target: File to write; it appears when it is whole.
        start: Seconds from the start of the video.
        end: Seconds; what lies behind the end of the video is not there.
    """

    source: str
    target: str
    start: float
    end: float


def cut(job: Cut) -> int:
    """Write a segment of a video as H.264 without sound: in a child process.

    Args:
        job: The segment. Its frames are those whose time is in [start, end); without any,
            the next one, or else the last one of the video.

    Returns:
        The number of frames.

    Raises:
        UnreadableVideoError: The video cannot be read.
        OSError: The file cannot be written.
    """
    import av

    errors = (av.FFmpegError, ValueError, ArithmeticError, LookupError, TypeError)
    with atomic_path(Path(job.target)) as part:
        try:
            target = av.open(plain_path(str(part)), 'w', format='mp4')
        except av.FFmpegError as error:
            raise OSError(error.errno, f'cannot write {part}: {error.strerror}') from None
        with target, unreadable(job.source, *errors):
            return _copy(job, target)


def _copy(job: Cut, target: Any) -> int:
    """Decode from the key frame before the segment on, and encode what is in it."""
    with open_container(job.source) as source:
        stream = video_streams(source, job.source)[0]
        stream.codec_context.thread_count = 1
        base = stream.time_base
        origin = stream.start_time or 0
        frames = _frames_from(source, stream, origin + int(job.start / base))
        upright = UprightFrames(base, 'yuv420p', resize=_even)
        output, first, last = None, 0, None
        for frame in frames:
            time = float((frame.pts - origin) * base)
            if time >= job.end and output is not None:
                break
            last = frame
            if time < job.start:
                continue
            image = upright(frame)
            if output is None:
                output, first = _output(target, stream, image), frame.pts
            target.mux(output.encode(_timed(image, frame, first)))
        if output is None:
            if last is None:
                raise ValueError('there are no frames in the segment')
            image = upright(last)
            output = _output(target, stream, image)
            target.mux(output.encode(_timed(image, last, last.pts)))
        target.mux(output.encode())
        return int(output.frames)


def _frames_from(source: Any, stream: Any, pts: int) -> Iterator[Any]:
    """Frames from the last key frame at or before a time stamp on."""
    source.seek(pts, stream=stream)
    first = next(source.decode(stream), None)
    if first is None or first.pts > pts:
        # Containers without an index, such as MPEG-TS, may seek to a packet behind its key frame.
        source.seek(stream.start_time or 0, stream=stream)
    else:
        yield first
    yield from source.decode(stream)


def _even(width: int, height: int) -> tuple[int, int]:
    """H.264 in 4:2:0 has even sides."""
    return width // 2 * 2 or 2, height // 2 * 2 or 2


def _output(target: Any, stream: Any, image: Any) -> Any:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    output = target.add_stream('libx264', rate=rate, options=_OPTIONS)
    output.width, output.height, output.pix_fmt = image.width, image.height, 'yuv420p'
    output.time_base = output.codec_context.time_base = stream.time_base
    return output


def _timed(image: Any, frame: Any, first: int) -> Any:
    """An upright frame, timed from the first one of the segment."""
    image.pts, image.time_base = frame.pts - first, frame.time_base
    image.pict_type = 0
    return image
