"""Decoded frames as a player shows them: upright, in one size and pixel format."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = [
    'FrameBatch',
    'RGBFrames',
    'UprightFrames',
    'View',
    'display_matrix',
    'upright_filters',
    'upright_size',
]

Filter = tuple[str, str | None]
View = tuple[tuple[int, int, int, int], tuple[int, int]]
"""A box (left, top, right, bottom) and the size (w, h) to which it is resized."""
# FFmpeg converts a pixel of these to RGB by its own luma and chroma sample alone, in frames of even
# width and height, so that a part of a frame that begins at even places gives the same pixels.
_LOCAL_FORMATS = ('yuv420p', 'yuvj420p')


def display_matrix(frame: Any) -> np.ndarray | None:
    """The display matrix (3, 3), int32, that comes with a decoded frame, if any."""
    from av.sidedata.sidedata import SideDataContainer

    # `frame.side_data` would be kept in the frame to which it refers: a cycle that keeps the pixels
    # of all frames until the next garbage collection.
    container: Any = SideDataContainer  # whose types know no argument
    found = container(frame)
    data = found.get('DISPLAYMATRIX') if len(found) else None  # most frames have none of any kind
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def upright_filters(matrix: np.ndarray | None) -> list[Filter]:
    """FFmpeg's filters that turn and mirror a frame as its display matrix asks.

    Quarter turns and mirrored ones move pixels; any other angle rotates within
    the size of the frame. A matrix without a direction (zeros) changes nothing.

    Source: `-autorotate` of the `ffmpeg` command.

    Args:
        matrix: See `display_matrix`.
    """
    if matrix is None:
        return []
    (a, b, _), (c, d, _), _ = matrix.tolist()
    x_scale, y_scale = math.hypot(a, c), math.hypot(b, d)
    if not x_scale or not y_scale:
        return []
    # Clockwise degrees in [0, 360), with a tolerance below 0.
    theta = float(round(math.degrees(math.atan2(b / y_scale, a / x_scale))))
    theta -= 360 * math.floor(theta / 360 + 0.9 / 360)
    if abs(theta - 90) < 1:
        return [('transpose', 'cclock_flip' if c > 0 else 'clock')]
    if abs(theta - 270) < 1:
        return [('transpose', 'clock_flip' if c < 0 else 'cclock')]
    if abs(theta - 180) < 1:
        flips: list[tuple[bool, Filter]] = [(a < 0, ('hflip', None)), (d < 0, ('vflip', None))]
        return [flip for applies, flip in flips if applies]
    if abs(theta) > 1:
        return [('rotate', f'{theta:f}*PI/180')]
    return [('vflip', None)] if theta == 0 and d < 0 else []


def upright_size(frame: Any) -> tuple[int, int]:
    """(w, h) of a decoded frame when it is upright."""
    turns = upright_filters(display_matrix(frame))
    width, height = int(frame.width), int(frame.height)
    return (height, width) if any(name == 'transpose' for name, _ in turns) else (width, height)


class UprightFrames:
    """Turn decoded frames upright, to one size and pixel format.

    The first frame decides the size; others are scaled to it.

    Args:
        time_base: Of the stream the frames come from.
        pix_fmt: Pixel format to convert to.
        resize: Width and height to make of the upright width and height of the
            first frame; None keeps them.
        scale_options: Further options of FFmpeg's `scale`, such as 'flags=bicubic'.
        view: What is cut out of the upright frame before it is converted, and its new size.
        box: (left, top, right, bottom) of the pixels that will be used. What is returned may be
            larger; `origin` is where in the frame it begins.
    """

    def __init__(
        self,
        time_base: Fraction | None,
        pix_fmt: str,
        resize: Any = None,
        scale_options: str = '',
        view: View | None = None,
        box: tuple[int, int, int, int] | None = None,
    ) -> None:
        self._time_base = time_base or Fraction(1, 1000)
        self._pix_fmt = pix_fmt
        self._resize = resize
        self._scale_options = f':{scale_options}' if scale_options else ''
        self._view = view
        self._box = box
        self.origin = 0, 0
        self._size: tuple[int, int] | None = None
        self._form: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> Any:
        """The frame (an `av.VideoFrame`), upright, with its time."""
        matrix = display_matrix(frame)
        turned = None if matrix is None else matrix.tobytes()
        form = (frame.width, frame.height, frame.format.name, turned)
        if form != self._form:
            self._build(frame, upright_filters(matrix))
            self._form = form
        self._source.push(frame)
        return self._sink.pull()

    def _build(self, frame: Any, turns: Sequence[Filter]) -> None:
        import av

        if self._size is None:
            self._size = upright_size(frame)
            if self._resize:
                self._size = self._resize(*self._size)
        self._graph = av.filter.Graph()
        # Clips are read in parallel, frames are not.
        self._graph.threads = 1
        last: Any = self._graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=self._time_base,
        )
        self._source = last
        for name, argument in (
            *turns,
            *self._scale(frame),
            *self._cut(),
            ('format', self._pix_fmt),
            ('buffersink', None),
        ):
            step = self._graph.add(name, argument)
            last.link_to(step)
            last = step
        self._graph.configure()
        self._sink = last

    def _scale(self, frame: Any) -> list[Filter]:
        """Filters that bring a frame to the size of all, or cut out what will be used of it."""
        assert self._size is not None
        width, height = self._size
        cut: list[tuple[str, str | None]] = []
        self.origin = 0, 0
        is_local = frame.format.name in _LOCAL_FORMATS and not (width % 2 or height % 2)
        if self._box and is_local and (frame.width, frame.height) == self._size:
            self.origin = left, top = self._box[0] // 2 * 2, self._box[1] // 2 * 2
            width = -(-self._box[2] // 2) * 2 - left
            height = -(-self._box[3] // 2) * 2 - top
            cut = [('crop', f'{width}:{height}:{left}:{top}')]
        return [*cut, ('scale', f'{width}:{height}{self._scale_options}')]

    def _cut(self) -> list[Filter]:
        if self._view is None:
            return []
        (left, top, right, bottom), (width, height) = self._view
        # Averaging areas comes nearest to OpenCV, and is the fastest that does.
        return [
            ('crop', f'{right - left}:{bottom - top}:{left}:{top}'),
            ('scale', f'{width}:{height}:flags=area'),
        ]


class RGBFrames:
    """Convert decoded frames to upright images (H, W, 3), uint8 RGB.

    Args:
        time_base: Of the stream the frames come from.
        view: The part of each frame that is kept, and its size.
    """

    def __init__(self, time_base: Fraction | None, view: View | None = None) -> None:
        self._box: tuple[int, int, int, int] | None = None
        if view is not None:
            (left, top, right, bottom), size = view
            if size == (right - left, bottom - top):
                # FFmpeg cuts at whole pixels of chroma only; after the conversion any will do.
                self._box, view = view[0], None
        self._upright = UprightFrames(time_base, 'rgb24', view=view, box=self._box)

    def __call__(self, frame: Any) -> np.ndarray:
        """The image of a frame, an `av.VideoFrame`."""
        image = rgb_pixels(self._upright(frame))
        if self._box is None:
            return image
        (left, top, right, bottom), (x, y) = self._box, self._upright.origin
        return image[top - y : bottom - y, left - x : right - x]


class FrameBatch:
    """Decoded frames, upright, in one array.

    Args:
        size: Number of frames there will be.
        time_base: Of the stream the frames come from.
        each: Applied to each frame (H, W, 3), uint8 RGB, before it is kept.
    """

    def __init__(
        self,
        size: int,
        time_base: Fraction | None,
        each: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.count = 0
        self._size = size
        self._converted = RGBFrames(time_base)
        self._each = each
        self.array = np.empty((0, 0, 0, 3), np.uint8)

    def add(self, frame: Any) -> None:
        """Convert and keep the next frame, an `av.VideoFrame`."""
        image = self._converted(frame)
        if self._each is not None:
            image = self._each(image)
        if not self.count:
            self.array = np.empty((self._size, *image.shape), np.uint8)
        self.array[self.count] = image
        self.count += 1


def rgb_pixels(frame: Any) -> np.ndarray:
    """The pixels (H, W, 3) of an RGB frame, which are its own and live as long as it."""
    plane = frame.planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return lines[: frame.height, : 3 * frame.width].reshape(frame.height, frame.width, 3)
