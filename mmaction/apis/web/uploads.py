"""What may be uploaded: real video files within limits, and nothing that names other files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmaction.datasets.decoders.container import video_streams
from mmaction.errors import UnreadableVideoError

__all__ = ['Limits', 'UploadError', 'VideoFacts', 'check_video']


class UploadError(ValueError):
    """What is wrong with an upload, in a sentence for the page."""


@dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
        megabytes: Size of a file, in millions of bytes.
        seconds: Length of a video.
        side: Height and width in pixels.
        pixels: Height times width; the default takes 4K (4096 x 2160).
        waiting: Clips that may wait for their turn.
        uploads: Clips that may be on their way to the server.
        upload_rate: Bytes per second that an upload must keep up on average.
        upload_grace: Seconds before that is asked of it.
        decode_seconds: Time that reading one clip may take.
        memory_megabytes: Memory that reading one clip may take, in millions of bytes.
    """

    megabytes: float = 100.0
    seconds: float = 120.0
    side: int = 4096
    pixels: int = 9_000_000
    waiting: int = 8
    uploads: int = 32
    upload_rate: float = 20_000.0
    upload_grace: float = 10.0
    decode_seconds: float = 60.0
    memory_megabytes: int = 1000

    @property
    def bytes(self) -> int:
        """Size of a file in bytes."""
        return int(self.megabytes * 1e6)


@dataclass(frozen=True)
class VideoFacts:
    """A video file: size of a stored frame, frames per second and length in seconds."""

    width: int
    height: int
    fps: float
    seconds: float


_TAKEN = 'MP4, MOV, MKV, WebM, AVI, MPEG or GIF'


def container_format(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file begins as, or None.

    Only containers that hold their own frames: play lists, of which FFmpeg would open the
    files that they name, are none of them.
    """
    if head[4:8] in (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip'):
        return 'mov'
    if head[:4] == b'RIFF' and head[8:12] == b'AVI ':
        return 'avi'
    if head[:4] == b'\x1a\x45\xdf\xa3':
        return 'matroska'
    if head[:6] in (b'GIF87a', b'GIF89a'):
        return 'gif'
    if head[:4] == b'\x00\x00\x01\xba':
        return 'mpeg'
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return 'mpegts'
    return None


def check_video(path: Path, name: str, limits: Limits) -> VideoFacts:
    """Look into an uploaded file without decoding it.

    Args:
        path: The file.
        name: What the user calls it.
        limits: What is taken.

    Raises:
        UploadError: It is no video, or too large.
    """
    import av

    with path.open('rb') as file:
        head = file.read(512)
    if not head:
        raise UploadError(f'{name} is empty.')
    kind = container_format(head)
    if kind is None:
        raise UploadError(f'{name} is not a video that this page can read ({_TAKEN}).')
    try:
        # The format is given, so that FFmpeg does not guess another one.
        with av.open(str(path), format=kind) as container:
            stream = video_streams(container, name)[0]
            context = stream.codec_context
            facts = VideoFacts(
                context.width,
                context.height,
                float(stream.average_rate or stream.guessed_rate or 30),
                _seconds(container, stream),
            )
    except UnreadableVideoError as error:
        raise UploadError(f'{name} cannot be read: {error.reason}.') from error
    except (av.error.FFmpegError, EOFError) as error:
        raise UploadError(
            f'{name} is damaged or incomplete, so it cannot be read as a video.'
        ) from error
    if facts.seconds > limits.seconds:
        raise UploadError(
            f'{name} is {facts.seconds:.0f} seconds long; this page takes videos of up to '
            f'{limits.seconds:g} seconds.'
        )
    if max(facts.width, facts.height) > limits.side:
        raise UploadError(
            f'{name} has {facts.width} x {facts.height} pixels; this page takes up to '
            f'{limits.side} on a side.'
        )
    if facts.width * facts.height > limits.pixels:
        raise UploadError(
            f'{name} has {facts.width} x {facts.height} pixels; this page takes up to '
            f'{limits.pixels / 1e6:g} million.'
        )
    return facts


def _seconds(container: Any, stream: Any) -> float:
    """Length of a video; where the file does not say it, the time of its last frame."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration / 1e6)
    times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    return float((max(times) - min(times)) * stream.time_base) if times else 0.0
