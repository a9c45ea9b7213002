"""Re-encode videos so that training reads them fast: small pictures, many key frames.

    python tools/data/prepare_videos.py FOLDER OUT [--short-side 256]

Every video under FOLDER becomes OUT/same/path.mp4: H.264 without sound, upright, with the
same frames at the same times. Run again, it goes on where it stopped. Files that cannot be
read are listed in OUT/failures.txt, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mmaction.datasets.decoders import PyAVReader


class Settings(NamedTuple):
    """How videos are encoded.

    Args:
        short_side: Pixels of the shorter side; smaller videos keep their size.
        key_interval: Most frames from one key frame to the next.
        crf: Quality, x264's constant rate factor; less is better.
        preset: Effort of the encoder.
    """

    short_side: int
    key_interval: int
    crf: int
    preset: str


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    from mmaction.utils.cli import add_job_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('folder', type=Path, help='folder of the videos')
    add('out', type=Path, help='folder to write to')
    add('--short-side', type=int, default=256, metavar='PIXELS', help='%(default)s; or 320')
    add('--key-interval', type=int, default=16, metavar='FRAMES', help='%(default)s')
    add('--crf', type=int, default=20, help='quality, 0 (best) to 51 (%(default)s)')
    add('--preset', default='fast', help="x264's effort, ultrafast to veryslow (%(default)s)")
    add('--overwrite', action='store_true', help='make all of them anew')
    add_job_options(parser, timeout=3600)
    args = parser.parse_args(argv)
    for name, value, least in (
        ('--short-side', args.short_side, 16),
        ('--key-interval', args.key_interval, 1),
        ('--crf', args.crf, 0),
    ):
        if value < least:
            parser.error(f'{name} {value} must be at least {least}')
    return args


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell errors of writing, such as a full disk, from those of the video that is read."""
    import av

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
    import av

    from mmaction.datasets.decoders import PyAVReader
    from mmaction.datasets.decoders.reader import plain_path
    from mmaction.errors import UnreadableVideoError
    from mmaction.utils.io import atomic_path

    reader = PyAVReader(str(source))
    count = 0
    with atomic_path(target) as part:
        with writing(target):
            container = av.open(plain_path(str(part)), 'w', format='mp4')
        with container:
            stream: Any = None
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


def _frames(reader: PyAVReader, short_side: int) -> Iterator[tuple[Any, Fraction]]:
    """The frames of a video, upright and small, with times that increase, and their rate.

    Raises:
        UnreadableVideoError: A frame is damaged or missing.
    """
    import av

    from mmaction.datasets.decoders.upright import UprightFrames

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


def _add_stream(container: Any, frame: Any, rate: Fraction, settings: Settings) -> Any:
    """The H.264 stream of a new file."""
    interval = str(settings.key_interval)
    options = {
        'crf': str(settings.crf),
        'preset': settings.preset,
        # Leaves out what costs time to decode, for files that are a little larger.
        'tune': 'fastdecode',
        # One thread, and no look-ahead threads: the files are what runs in parallel.
        'threads': '1',
        # Readers seek to key frames: nothing may refer to what lies before one.
        'x264-params': f'keyint={interval}:min-keyint=1:open-gop=0:bframes=0',
    }
    # The rate tells how long the last frame lasts; the times of the others are their own.
    stream = container.add_stream('libx264', rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, 'yuv420p'
    stream.time_base = stream.codec_context.time_base = frame.time_base
    return stream


def work(job: tuple[str, str], settings: Settings) -> int:
    """Encode one video: in a child process."""
    return encode(Path(job[0]), Path(job[1]), settings)


def prepare(args: argparse.Namespace) -> int:
    """Encode what is not there yet; the exit status."""
    import av  # noqa: F401  the children inherit it

    from mmaction.data_preparation.jobs import (
        check_settings,
        check_targets,
        find_work,
        output_folder,
        report_failures,
        run_jobs,
    )

    settings = Settings(args.short_side, args.key_interval, args.crf, args.preset)
    failures: dict[str, str] = {}
    frames, start = 0, time.time_ns()
    with output_folder(args.out):
        jobs, done = find_work(args.folder, args.out, '.mp4', args.overwrite)
        check_targets(args.out / 'prepare_videos.json', jobs, done, args.overwrite)
        check_settings(args.out / 'prepare_videos.json', settings._asdict(), args.overwrite)
        for outcome in run_jobs(
            functools.partial(work, settings=settings),
            jobs,
            workers=args.workers,
            timeout=args.timeout,
            title='prepare',
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
        report_failures(failures, args.out / 'failures.txt', 'videos could not be prepared')
    print(
        f'{args.out}: {len(jobs) - len(failures)} videos ({frames} frames) made, '
        f'{done} were there, {len(failures)} failed'
    )
    return 1 if failures else 0


def main(argv: list[str] | None = None) -> None:
    """Parse, prepare, exit."""
    args = parse_args(argv)
    from mmaction.utils.cli import check_files

    check_files(args, 'folder')
    from mmaction.utils.cli import user_errors

    with user_errors(setup=True):
        sys.exit(prepare(args))


if __name__ == '__main__':
    main()
