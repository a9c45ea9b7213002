"""Reading clips as training does, to find those that it could not read."""

from __future__ import annotations

import glob
import itertools
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmaction.datasets.decoders import PyAVReader
from mmaction.datasets.decoders.reader import video_path
from mmaction.datasets.numbered_frames import FrameFolder
from mmaction.errors import UnreadableVideoError
from mmaction.utils.file_types import IMAGE_EXTENSIONS
from mmaction.utils.io import JsonLines
from mmaction.utils.work_share import WorkShare

from .jobs import frame_chunks, run_jobs

__all__ = ['Journal', 'check_clips', 'inspect_images', 'inspect_video']


def inspect_video(path: str, quick: bool) -> dict[str, Any]:
    """Read a video as training does: in a child process.

    Args:
        path: The video.
        quick: Decode three frames instead of all.

    Returns:
        What there is to know about it; `remark` is what is odd but does no harm.

    Raises:
        UnreadableVideoError: It, or a frame of it, cannot be read.
    """
    reader = PyAVReader(video_path(path))
    try:
        if quick:
            frames = reader.get_batch([0, len(reader) // 2, len(reader) - 1])
        else:
            for chunk in frame_chunks(reader):
                frames = chunk
        fps = reader.get_avg_fps()
        facts = {
            'size': f'{frames.shape[2]}x{frames.shape[1]}',
            'fps': round(fps, 3),
            'frames': len(reader),
            'seconds': round(len(reader) / fps, 3) if fps else 0.0,
            **reader.stream_facts(),
        }
        remarks = []
        told, hidden = facts.pop('frames_told'), facts.pop('frames_hidden')
        if hidden and facts['container'] == 'mov':  # the only one with edit lists
            remarks.append(f'{hidden} more frames are hidden: it was cut without re-encoding')
        if told not in (0, len(reader) + hidden):
            remarks.append(f'its header tells of {told} frames')
        return {**facts, 'remark': '; '.join(remarks)}
    finally:
        reader.close()


class Journal:
    """What is known of each video, kept from run to run.

    Args:
        file: A JSON object for each video on a line; what an interrupted run
            left of the last one does no harm.
        quick: Facts of a quick check do not stand for those of a full one.
        share: Others write journals of their own, which are read as well.
    """

    def __init__(self, file: Path, quick: bool, share: WorkShare = WorkShare()) -> None:  # noqa: B008
        self.facts: dict[str, dict[str, Any]] = {}
        self._quick = quick
        others = sorted(file.parent.glob(f'{glob.escape(file.stem)}-*-of-*{file.suffix}'))
        for path in (file, *others):
            if path.exists():
                self._read(path)
        if not share.is_all:
            file = file.with_name(f'{file.stem}-{share.label}{file.suffix}')
        self._file = JsonLines(file)

    def _read(self, file: Path) -> None:
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
                name, stamp, facts = record['path'], record['stamp'], record['facts']
            except (ValueError, LookupError, TypeError):
                continue
            if stamp == self._stamp(name) and record.get('quick', True) <= self._quick:
                self.facts[name] = facts

    @staticmethod
    def _stamp(name: str) -> list[int] | None:
        try:
            status = Path(video_path(name)).stat()
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns]

    def add(self, name: str, facts: dict[str, Any]) -> None:
        """Note the facts of a video."""
        self.facts[name] = facts
        record = dict(path=name, stamp=self._stamp(name), quick=self._quick, facts=facts)
        self._file.add(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def inspect_images(job: tuple[str, FrameFolder | None], quick: bool) -> dict[str, Any]:
    """Read an image, or the images of a folder: in a child process.

    Args:
        job: The image; or, with the frames of a folder, the last of them.
        quick: Read the first, middle and last image of a folder only.

    Returns:
        What is known of the frames of a folder.

    Raises:
        UnreadableVideoError: An image cannot be read.
    """
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
    return {} if frames is None else frames._asdict()


def _file(path: Path, frames: FrameFolder | None) -> str:
    """The file that stands for a clip: of a folder the last image, another one if it grows."""
    if frames is None:
        return str(path)
    return str(path / frames.template.format(frames.first + frames.total - 1))


def check_clips(
    clips: Mapping[str, FrameFolder | None],
    *,
    folder: Path,
    journal_file: Path,
    quick: bool,
    workers: int,
    timeout: float,
    share: WorkShare = WorkShare(),  # noqa: B008
) -> dict[str, str]:
    """The clips that cannot be read, and why; what earlier runs have read is not read again.

    Args:
        clips: Paths in `folder`, with the frames of those that are folders.
        folder: Folder of the clips.
        journal_file: See `Journal`.
        quick: Read three frames of each instead of all.
        workers: Clips to read at the same time.
        timeout: Seconds for one.
        share: Which of the clips; the others are taken for good.
    """
    cv2.setNumThreads(0)
    bad: dict[str, str] = {}
    journal = Journal(journal_file, quick, share)
    full = {path: _file(folder / path, frames) for path, frames in clips.items()}
    short = {name: path for path, name in full.items()}
    videos, images = [], []
    for path, frames in share.of(list(clips.items())):
        if full[path] in journal.facts:
            continue
        if frames is not None or path.lower().endswith(IMAGE_EXTENSIONS):
            images.append((full[path], frames))
        else:
            videos.append(full[path])
    try:
        options: dict[str, Any] = dict(workers=workers, timeout=timeout, title='check')
        for job, facts, reason in itertools.chain(
            run_jobs(partial(inspect_video, quick=quick), videos, **options),
            run_jobs(partial(inspect_images, quick=quick), images, **options),
        ):
            name = job if isinstance(job, str) else job[0]
            if reason is None:
                journal.add(name, facts)
            else:
                bad[short[name]] = reason
    finally:
        journal.close()
    return bad
