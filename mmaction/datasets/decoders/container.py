"""The container of a video: opening it, and choosing among its video streams."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from mmaction.errors import UnreadableVideoError

from .reader import plain_path

__all__ = ['open_container', 'video_streams']

# FFmpeg's weight of the default flag against width x height.
_DEFAULT_WEIGHT = 5_000_000


def open_container(
    filename: str, content: bytes | BinaryIO | None = None, kind: str | None = None
) -> Any:
    """Open a file, or its content, for reading.

    Args:
        filename: Path of the file.
        content: Its bytes or a file object, if they are not to be read from the path.
        kind: FFmpeg's name of the container, which it otherwise guesses.

    Raises:
        av.FFmpegError: It cannot be opened.
        UnreadableVideoError: It is empty.
    """
    import av

    path = plain_path(filename)
    on_disk = content is None and os.path.isfile(path)
    if content == b'' or (on_disk and not Path(path).stat().st_size):
        raise UnreadableVideoError(filename, 'the file is empty')
    if content is None:
        return av.open(path, format=kind)
    if isinstance(content, bytes):
        return av.open(io.BytesIO(content), format=kind)
    content.seek(0)
    return av.open(content, format=kind)


def video_streams(container: Any, filename: str) -> list[Any]:
    """The video streams of a container, best first, as FFmpeg ranks them.

    A default stream comes before others, unless those have far more pixels;
    else the largest picture counts, else the order in the file. Attached
    pictures (the cover of a song or film) are not video.

    Source of the ranking: automatic stream selection of the `ffmpeg` command.

    Raises:
        UnreadableVideoError: There is none, or none with a codec that FFmpeg knows.
    """
    from av.stream import Disposition

    def score(stream: Any) -> int:
        context = stream.codec_context
        is_default = bool(stream.disposition & Disposition.default)
        score: int = context.width * context.height + _DEFAULT_WEIGHT * is_default
        return score

    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        cover = ', only a cover picture' if container.streams.video else ''
        raise UnreadableVideoError(filename, f'it holds no video stream{cover}')
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise UnreadableVideoError(filename, 'its codec is unknown')
    # Sorting is stable: of equal streams the first stays first.
    return sorted(known, key=score, reverse=True)
