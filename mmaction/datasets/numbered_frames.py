"""Folders of numbered frames: which files they are, and what a folder lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from mmaction.utils.file_types import IMAGE_EXTENSIONS

__all__ = ['FrameFolder', 'numbered_frames']

# Names of optical flow: flow_x_00001.jpg, x_00001.jpg.
_FLOW = re.compile(r'(flow_)?[xy]_[0-9]')
_NUMBERED = re.compile(r'(.*?)([0-9]+)(\.[^.]+)', re.DOTALL)


class FrameFolder(NamedTuple):
    """The images of a folder.

    Args:
        total: Number of the frames.
        first: Number of the first.
        template: Their names, such as 'img_{:05}.jpg'.
        fault: Why they are no clip, or ''.
    """

    total: int
    first: int
    template: str
    fault: str = ''


def numbered_frames(names: Iterable[str]) -> FrameFolder | None:
    """The frames among the files of a folder; None if there are none.

    Optical flow beside them, and what file managers leave (`._img_00001.jpg`,
    `Thumbs.db`), are left out.
    """
    numbers: dict[tuple[str, str], list[str]] = {}
    others = 0
    for name in names:
        is_image = os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS
        if not is_image or name.startswith('.') or _FLOW.match(name):
            continue
        match = _NUMBERED.fullmatch(name)
        if match is None:
            others += 1
            continue
        numbers.setdefault((match[1], match[3]), []).append(match[2])
    if not numbers:
        return None
    (prefix, extension), digits = max(numbers.items(), key=lambda item: len(item[1]))
    width = min(map(len, digits))
    prefix = prefix.replace('{', '{{').replace('}', '}}')
    values = sorted(map(int, digits))
    first, count = values[0], len(values)
    template = f'{prefix}{{:0{width}}}{extension}' if width > 1 else f'{prefix}{{}}{extension}'
    fault = ''
    others += sum(map(len, numbers.values())) - count
    if others:
        fault = f'{others} images have other names than {template!r}'
    elif values != list(range(first, first + count)):
        gap = next(n for i, n in enumerate(values, start=first) if n != i)
        fault = f'frames are missing before {template.format(gap)!r}'
    return FrameFolder(count, first, template, fault)
