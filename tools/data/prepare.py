"""Make our lists from the official annotation of a dataset.

    python tools/data/prepare.py DATASET --annotations DIR --videos DIR --out DIR

OUT gets train.txt, val.txt, ... (`path label`, paths from the folder of the videos on),
classes.txt, summary.txt (how many rows there should be, are, and what became of them) and
dropped.tsv (each row that is in no list, and why). Run it again when more clips are there.
With --frames the clips are folders of images, and the lists are called train_rawframes.txt,
... (`folder frames label`). --check reads every clip as training does, so that only good
ones come into the lists; stopped and run again, it goes on. What each dataset needs is in
docs/data_preparation.md.
"""

from __future__ import annotations

import argparse
import functools
import os
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmaction.data_preparation import Frames, Reader

# The modules of the readers.
DATASETS = {
    'activitynet': 'activitynet',
    'diving48': 'diving48',
    'hmdb51': 'hmdb51',
    'hvu': 'hvu',
    'jester': 'jester',
    'kinetics400': 'kinetics',
    'kinetics600': 'kinetics',
    'kinetics700': 'kinetics',
    'kinetics700_2020': 'kinetics',
    'mit': 'mit',
    'mmit': 'mmit',
    'omnisource': 'omnisource',
    'sthv1': 'sthv1',
    'sthv2': 'sthv2',
    'ucf101': 'ucf101',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    from mmaction.utils.cli import add_job_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('dataset', choices=DATASETS, metavar='DATASET', help=', '.join(DATASETS))
    add('--annotations', type=Path, required=True, metavar='DIR', help='official annotation')
    add('--videos', type=Path, required=True, metavar='DIR', help='clips, in any folders in it')
    add('--out', type=Path, required=True, metavar='DIR', help='where to write')
    add('--frames', action='store_true', help='clips are folders of images')
    add('--check', action='store_true', help='read every clip; leave out what cannot be read')
    add('--quick', action='store_true', help='with --check: three frames of each')
    add('--trim', action='store_true', help='ActivityNet: cut clips into VIDEOS/clips')
    add(
        '--class-order',
        default='mmaction2',
        choices=('mmaction2', 'alphabetical'),
        help='what the labels count (%(default)s)',
    )
    add('--classes', type=Path, metavar='FILE', help='class names in the order of their labels')
    add('--overwrite', action='store_true', help='replace lists that have other classes')
    add_job_options(parser, timeout=300)
    args = parser.parse_args(argv)
    if args.quick and not args.check:
        parser.error('--quick is for --check')
    if args.trim and (args.dataset != 'activitynet' or args.frames):
        parser.error('--trim is for videos of activitynet')
    if args.classes and args.class_order != 'mmaction2':
        parser.error('--classes and --class-order exclude each other')
    return args


def load(path: Path) -> Any:
    """A Python file of this folder as a module, whatever the import path is."""
    spec = spec_from_file_location(f'prepare_{path.parent.name}_{path.stem}', path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reader_of(dataset: str) -> Reader:
    """The reader of a dataset."""
    module = import_module(f'mmaction.data_preparation.readers.{DATASETS[dataset]}')
    reader: Reader = module.READERS[dataset]
    return reader


def inspect_images(job: tuple[str, Frames | None], quick: bool) -> None:
    """Read an image, or the images of a folder: in a child process.

    Args:
        job: The image; or, with the frames of a folder, the last of them.
        quick: Read the first, middle and last image of a folder only.

    Raises:
        UnreadableVideoError: An image cannot be read.
    """
    import cv2
    import numpy as np

    from mmaction.errors import UnreadableVideoError

    path, frames = job
    files = [path]
    if frames is not None:
        folder, last = os.path.dirname(path), frames.total - 1
        numbers = sorted({0, frames.total // 2, last}) if quick else range(frames.total)
        names = (frames.template.format(frames.first + number) for number in numbers)
        files = [os.path.join(folder, name) for name in names]
    for file in files:
        name = os.path.basename(file)
        try:
            content = np.fromfile(file, np.uint8)
            image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        except OSError as error:
            raise UnreadableVideoError(file, f'{name}: {error.strerror}') from None
        if image is None:
            raise UnreadableVideoError(file, f'{name} is no image that can be read')


def _file(path: Path, frames: Frames | None) -> str:
    """The file that stands for a clip: of a folder the last image, another one if it grows."""
    if frames is None:
        return str(path)
    return str(path / frames.template.format(frames.first + frames.total - 1))


def check_media(clips: dict[str, Frames | None], args: argparse.Namespace) -> dict[str, str]:
    """The clips that cannot be read, and why; what earlier runs have read is not read again."""
    import av  # noqa: F401  the children inherit it
    import cv2
    import decord  # noqa: F401

    from mmaction.data_preparation.jobs import IMAGE_EXTENSIONS, run_jobs

    cv2.setNumThreads(0)
    checker = load(Path(__file__).parent / 'check_videos.py')
    is_image = {
        path: frames is not None or path.lower().endswith(IMAGE_EXTENSIONS)
        for path, frames in clips.items()
    }
    bad: dict[str, str] = {}
    journal = checker.Journal(args.out / 'checked.jsonl', args.quick)
    options = dict(workers=args.workers, timeout=args.timeout, title='check')
    full = {path: _file(args.videos / path, frames) for path, frames in clips.items()}
    short = {name: path for path, name in full.items()}
    left = [path for path in clips if full[path] not in journal.facts]
    videos = [full[path] for path in left if not is_image[path]]
    images = [(full[path], clips[path]) for path in left if is_image[path]]
    try:
        inspect = functools.partial(checker.inspect, quick=args.quick)
        for name, facts, reason in run_jobs(inspect, videos, **options):
            if reason is None:
                journal.add(name, facts)
            else:
                bad[short[name]] = reason
        inspect = functools.partial(inspect_images, quick=args.quick)
        for (name, frames), _, reason in run_jobs(inspect, images, **options):
            if reason is None:
                journal.add(name, {} if frames is None else frames._asdict())
            else:
                bad[short[name]] = reason
    finally:
        journal.close()
    return bad


def main(argv: list[str] | None = None) -> None:
    """Parse, prepare."""
    args = parse_args(argv)
    from mmaction.data_preparation import Request, prepare
    from mmaction.utils.cli import user_errors

    with user_errors(setup=True):
        request = Request(
            dataset=args.dataset,
            annotations=args.annotations,
            videos=args.videos,
            out=args.out,
            frames=args.frames,
            class_order=args.class_order,
            classes=args.classes,
            trim=args.trim,
            overwrite=args.overwrite,
            workers=args.workers,
            timeout=args.timeout,
        )
        check = functools.partial(check_media, args=args) if args.check else None
        prepare(reader_of(args.dataset), request, check)


if __name__ == '__main__':
    main()
