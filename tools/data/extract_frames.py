"""Extract the frames of videos as JPEG images, for RawframeDataset.

    python tools/data/extract_frames.py FOLDER OUT [--short-side 256]

The frames of FOLDER/path/clip.mp4 become OUT/path/clip/img_00001.jpg and so on: the very
frames that training on the videos reads. Run again, it goes on where it stopped. Videos
that cannot be read are listed in OUT/failures.txt, and the exit status is then 1. The lists:
`python tools/data/build_file_list.py OUT --rawframes`.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from mmaction.utils.plurals import how_many


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    from mmaction.utils.cli import Parser, add_job_options
    from mmaction.utils.file_types import IMAGE_EXTENSIONS

    parser = Parser(description=__doc__)
    add = parser.add_argument
    add('folder', type=Path, help='folder of the videos')
    add('out', type=Path, help='folder to write to')
    add('--short-side', type=int, metavar='PIXELS', help='shrink to this (default: as they are)')
    add('--template', default='img_{:05}.jpg', help='names of the images (%(default)s)')
    add('--start-index', type=int, default=1, help='number of the first frame (%(default)s)')
    add('--quality', type=int, default=95, help='of JPEG, 1 to 100 (%(default)s)')
    add('--overwrite', action='store_true', help='extract all of them again')
    add_job_options(parser, timeout=3600)
    args = parser.parse_args(argv)
    try:
        first, second = args.template.format(1), args.template.format(2)
    except (IndexError, KeyError, ValueError):
        first = second = ''
    is_name = os.path.basename(first) == first and first.lower().endswith(IMAGE_EXTENSIONS)
    if first == second or not is_name:
        parser.error(f'--template {args.template!r} must be like img_{{:05}}.jpg')
    if args.short_side is not None and args.short_side < 1:
        parser.error(f'--short-side {args.short_side} must be at least 1')
    if not 1 <= args.quality <= 100:
        parser.error(f'--quality {args.quality} must be 1 to 100')
    return args


def shrink(image: Any, short_side: int | None) -> Any:
    """An image (H, W, 3) with its shorter side at most `short_side` pixels."""
    import cv2

    height, width = image.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def extract(
    job: tuple[str, str], short_side: int | None, template: str, start: int, quality: int
) -> int:
    """Write the frames of one video: in a child process.

    Args:
        job: The video, and the folder to write, which appears when it is whole.
        short_side: See `shrink`.
        template: Names of the images.
        start: Number of the first.
        quality: Of JPEG.

    Returns:
        The number of frames.

    Raises:
        UnreadableVideoError: The video, or a frame of it, cannot be read.
        OSError: An image cannot be written.
    """
    import cv2

    from mmaction.data_preparation.jobs import frame_chunks
    from mmaction.datasets.decoders import PyAVReader
    from mmaction.utils.io import partial_path

    video, target = job[0], Path(job[1])
    part = partial_path(target)
    part.mkdir(parents=True)
    number = start
    reader = PyAVReader(video)
    try:
        for frames in frame_chunks(reader):
            for frame in frames:
                image = cv2.cvtColor(shrink(frame, short_side), cv2.COLOR_RGB2BGR)
                name = template.format(number)
                _, content = cv2.imencode(
                    os.path.splitext(name)[1], image, [cv2.IMWRITE_JPEG_QUALITY, quality]
                )
                (part / name).write_bytes(content.tobytes())
                number += 1
        _remove_frames(target, os.path.splitext(template)[1])
        part.rename(target)
    finally:
        reader.close()
        shutil.rmtree(part, ignore_errors=True)
    return number - start


def _remove_frames(folder: Path, extension: str) -> None:
    """Remove frames of an earlier run.

    Raises:
        FileExistsError: The folder holds other files.
    """
    if not folder.exists():
        return
    other = next((path for path in folder.iterdir() if path.suffix != extension), None)
    if other is not None:
        raise FileExistsError(f'{other} is no frame: move it out of the folder of frames')
    shutil.rmtree(folder)


def run(args: argparse.Namespace) -> int:
    """Extract what is not there yet; the exit status."""
    import cv2

    from mmaction.data_preparation.jobs import (
        check_settings,
        check_targets,
        find_work,
        output_folder,
        report_failures,
        run_jobs,
    )

    cv2.setNumThreads(0)
    settings = dict(
        short_side=args.short_side,
        template=args.template,
        start=args.start_index,
        quality=args.quality,
    )
    failures: dict[str, str] = {}
    frames = 0
    work = functools.partial(extract, **settings)
    with output_folder(args.out):
        jobs, done = find_work(args.folder, args.out, '', args.overwrite)
        check_targets(args.out / 'extract_frames.json', jobs, done, args.overwrite)
        check_settings(args.out / 'extract_frames.json', settings, args.overwrite)
        for (video, target), count, reason in run_jobs(
            work, jobs, workers=args.workers, timeout=args.timeout, title='extract'
        ):
            if reason is None:
                frames += count
            else:
                failures[video] = reason
                # Frames of an earlier version of the video must not stand for this one.
                _remove_frames(Path(target), os.path.splitext(args.template)[1])
        report_failures(failures, args.out / 'failures.txt', 'videos could not be extracted')
    made = how_many(len(jobs) - len(failures), 'video')
    print(
        f'{args.out}: {made} ({how_many(frames, "frame")}) extracted, '
        f'{done} were there, {len(failures)} failed'
    )
    return 1 if failures else 0


def main(argv: list[str] | None = None) -> None:
    """Parse, extract, exit."""
    args = parse_args(argv)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'folder')

    with user_errors(setup=True):
        sys.exit(run(args))


if __name__ == '__main__':
    main()
