"""Re-encoding videos so that training reads them fast: small pictures, many key frames."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av import VideoFrame
from av.container import OutputContainer
from av.video.stream import VideoStream

from mmaction.datasets.decoders import PyAVReader
from mmaction.datasets.decoders.reader import plain_path
from mmaction.datasets.decoders.upright import UprightFrames
from mmaction.errors import UnreadableVideoError
from mmaction.utils.file_types import VIDEO_EXTENSIONS
from mmaction.utils.io import atomic_path
from mmaction.utils.plurals import how_many
from mmaction.utils.work_share import WorkShare

from .jobs import (
    check_settings,
    check_targets,
    find_files,
    find_work,
    output_folder,
    report_failures,
    run_jobs,
)
from .share_records import Record, failures_name, write_record

__all__ = ['Settings', 'encode', 'new_size', 'reencode_folder', 'reencode_videos']


class Settings(NamedTuple):
    """How videos are encoded.

    Args:
        short_side: Pixels of the shorter side; smaller videos keep their size.
        key_interval: Most frames from one key frame to the next.
        crf: Quality, x264's constant rate factor; less is better.
        preset: Effort of the encoder.
    """

    short_side: int = 256
    key_interval: int = 16
    crf: int = 20
    preset: str = 'fast'


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell errors of writing, such as a full disk, from those of the video that is read."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, f'cannot write {path}: {error.strerror}') from None


def new_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Even width and height with the same ratio, the shorter one at most `short_side`."""
    scale = min(1.0, short_side / min(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def encode(source: Path, target: Path, settings: Settings) -> int:
    """Write one video anew.

    Args:
        source: The video.
        target: File to write; it appears when it is whole.
        settings: How to encode.

    Returns:
        Its number of frames.

    Raises:
        UnreadableVideoError: The source, or a frame of it, cannot be read.
        OSError: The target cannot be written.
    """
    reader = PyAVReader(str(source))
    count = 0
    with atomic_path(target) as part:
        with writing(target):
            container = av.open(plain_path(str(part)), 'w', format='mp4')
        with container:
            stream = None
            for frame, rate in _frames(reader, settings.short_side):
                if stream is None:
                    stream = _add_stream(container, frame, rate, settings)
                with writing(target):
                    container.mux(stream.encode(frame))
                count += 1
            if stream is not None:
                with writing(target):
                    container.mux(stream.encode())
        written = PyAVReader(str(part))
        written.close()
        if len(written) != count:
            raise UnreadableVideoError(
                str(source), f'{len(written)} of its {count} frames were written'
            )
    return count


def _frames(reader: PyAVReader, short_side: int) -> Iterator[tuple[VideoFrame, Fraction]]:
    """The frames of a video, upright and small, with times that increase, and their rate.

    Raises:
        UnreadableVideoError: A frame is damaged or missing.
    """
    upright = UprightFrames(
        reader.time_base,
        'yuv420p',
        resize=lambda width, height: new_size(width, height, short_side),
        scale_options='flags=bicubic',
    )
    base = reader.time_base or Fraction(1, 1000)
    rate = Fraction(reader.get_avg_fps()).limit_denominator(1001) or Fraction(25)
    step = max(1, round(1 / (rate * base)))
    start, last = None, -1
    try:
        for frame in reader.frames():
            stamp = frame.pts
            small = upright(frame)
            if start is None:
                start = stamp or 0
            # Times that are missing or go back are those of a damaged or odd file.
            stamp = last + step if stamp is None else stamp - start
            small.pts = last = stamp if stamp > last else last + 1
            small.time_base = base
            # The encoder chooses the key frames.
            small.pict_type = av.video.frame.PictureType.NONE
            yield small, rate
    finally:
        reader.close()


def _add_stream(
    container: OutputContainer, frame: Any, rate: Fraction, settings: Settings
) -> VideoStream:
    """The H.264 stream of a new file."""
    interval = str(settings.key_interval)
    options = {
        'crf': str(settings.crf),
        'preset': settings.preset,
        # Leaves out what costs time to decode, for files that are a little larger.
        'tune': 'fastdecode',
        # One thread, and no look-ahead threads: the files are what runs in parallel.
        'threads': '1',
        # Readers seek to key frames: nothing may refer to what lies before one. Nothing refers to
        # three of four pictures, either, so that a reader of every 2nd frame leaves many out.
        'x264-params': (
            f'keyint={interval}:min-keyint=1:open-gop=0:bframes=3:b-adapt=0:b-pyramid=none'
        ),
    }
    # The rate tells how long the last frame lasts; the times of the others are their own.
    stream = container.add_stream('libx264', rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, 'yuv420p'
    stream.time_base = stream.codec_context.time_base = frame.time_base
    return stream


def work(job: tuple[str, str], settings: Settings) -> int:
    """Encode one video: in a child process."""
    return encode(Path(job[0]), Path(job[1]), settings)


def reencode_videos(
    jobs: Sequence[tuple[str, str]],
    settings: Settings,
    *,
    workers: int,
    timeout: float,
    ray: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Encode videos in child processes, with a progress bar.

    Args:
        jobs: (video, target) for each.
        settings: How to encode.
        workers: Videos at the same time.
        timeout: Seconds for one, after which it counts as bad.
        ray: Address of a Ray cluster that does the work.

    Returns:
        The number of frames written, and the reason for each video that cannot be read.
    """
    failures: dict[str, str] = {}
    frames, start = 0, time.time_ns()
    for outcome in run_jobs(
        functools.partial(work, settings=settings),
        jobs,
        workers=workers,
        timeout=timeout,
        title='prepare',
        ray=ray,
    ):
        source, target = outcome.job
        if outcome.reason is None:
            frames += outcome.result
            continue
        failures[source] = outcome.reason
        # A video of an earlier version of the source must not stand for this one.
        with suppress(FileNotFoundError):
            if Path(target).stat().st_mtime_ns < start:
                Path(target).unlink()
    return frames, failures


def reencode_folder(
    folder: Path,
    out: Path,
    settings: Settings,
    *,
    workers: int,
    timeout: float,
    overwrite: bool,
    share: WorkShare = WorkShare(),  # noqa: B008
    ray: str | None = None,
) -> bool:
    """Encode those videos of a folder that are not there yet, and print what was done.

    Args:
        folder: The videos.
        out: Where the new ones go.
        settings: How to encode.
        workers: Videos at the same time.
        timeout: Seconds for one.
        overwrite: Make all of them anew.
        share: Which of the videos, where other machines do the others.
        ray: Address of a Ray cluster that does the work.

    Returns:
        Whether all could be read. `failures.txt` in `out` lists the others.

    Raises:
        ValueError: There are no videos, or `out` was made with other settings.
        FileExistsError: `out` holds what this did not make.
    """
    with output_folder(out, share):
        jobs, done = find_work(folder, out, '.mp4', overwrite, share)
        check_targets(out / 'prepare_videos.json', jobs, done, overwrite)
        check_settings(out / 'prepare_videos.json', settings._asdict(), overwrite)
        frames, failures = reencode_videos(
            jobs, settings, workers=workers, timeout=timeout, ray=ray
        )
        if not share.is_all:
            names = find_files(folder, VIDEO_EXTENSIONS, without=[out])[0]
            targets = [f'{os.path.splitext(name)[0]}.mp4' for name in share.of(names)]
            write_record(out, Record('prepare_videos', share, len(names), targets, failures))
        report_failures(failures, out / failures_name(share), 'videos could not be prepared')
    made = how_many(len(jobs) - len(failures), 'video')
    print(
        f'{out}: {made} ({how_many(frames, "frame")}) made, '
        f'{done} were there, {len(failures)} failed'
    )
    return not failures
