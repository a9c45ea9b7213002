"""Decoded frames that are not RGB yet: no more than what crops and resizes leave becomes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .upright import RGBFrames, upright_size

__all__ = ['DeferredFrames', 'loaded']

Step = Callable[[np.ndarray], np.ndarray]


class DeferredFrames:
    """Frames (N, H, W, 3) of a video to which crops, resizes and flips are still added.

    They are carried out on one frame after the other. The pixels are those of doing each with
    the whole clip, which would go through memory every time. Of a crop that comes first, little
    more than its box is converted to RGB.

    Args:
        frames: As decoded (`av.VideoFrame`), at least one.
        order: Which of them the N frames are; all of them in turn if None.
        in_decoder: Crops and resizes up to the first other step become one crop and one resize
            by FFmpeg before the conversion to RGB, with slightly other pixels.
    """

    def __init__(
        self, frames: Sequence[Any], order: np.ndarray | None = None, in_decoder: bool = False
    ) -> None:
        self._frames = frames
        self._order = order
        self._in_decoder = in_decoder
        self._size = upright_size(frames[0])
        # What is taken of each frame, in its pixels, and the size to which FFmpeg brings that.
        self._box = (0.0, 0.0, float(self._size[0]), float(self._size[1]))
        self._view_size = self._size
        self._steps: tuple[Step, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3)."""
        width, height = self._size
        return len(self), height, width, 3

    def __len__(self) -> int:
        return len(self._frames if self._order is None else self._order)

    def crop(self, box: tuple[int, int, int, int]) -> DeferredFrames:
        """The part (left, top, right, bottom) of each frame."""
        left, top, right, bottom = box
        size = right - left, bottom - top
        if self._steps:
            return self.then(lambda image: image[top:bottom, left:right], size)
        x, y, x_end, y_end = self._box
        x_scale, y_scale = (x_end - x) / self._size[0], (y_end - y) / self._size[1]
        inner = x + left * x_scale, y + top * y_scale, x + right * x_scale, y + bottom * y_scale
        return self._with(_box=inner, _view_size=size, _size=size)

    def resize(self, size: tuple[int, int], resized: Step, by_area: bool) -> DeferredFrames:
        """The frames in another size.

        Args:
            size: (w, h).
            resized: Resizes one frame to it.
            by_area: Whether FFmpeg may do it instead, by averaging areas.
        """
        if size == self._size:
            return self
        if self._in_decoder and by_area and not self._steps:
            return self._with(_view_size=size, _size=size)
        return self.then(resized, size)

    def then(self, step: Step, size: tuple[int, int]) -> DeferredFrames:
        """The frames after a step that makes images (H, W, 3) of a size (w, h)."""
        return self._with(_steps=(*self._steps, step), _size=size)

    def _with(self, **changes: Any) -> DeferredFrames:
        changed = copy.copy(self)
        vars(changed).update(changes)
        return changed

    def load(self) -> np.ndarray:
        """Convert the frames, and carry out the steps."""
        array = np.empty((len(self._frames), *self.shape[1:]), np.uint8)
        for target, image in zip(array, self._images(), strict=True):
            target[...] = image
        return array if self._order is None else array[self._order]

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames (H, W, 3) as `load` has them, one after the other."""
        # With an order, some may be wanted more than once.
        return self._images() if self._order is None else iter(self.load())

    def _images(self) -> Iterator[np.ndarray]:
        left, top, right, bottom = (round(side) for side in self._box)
        box = left, top, max(right, left + 1), max(bottom, top + 1)
        converted = RGBFrames(self._frames[0].time_base, (box, self._view_size))
        for frame in self._frames:
            image = converted(frame)
            for step in self._steps:
                image = step(image)
            if image.shape != self.shape[1:] or image.dtype != np.uint8:
                raise ValueError(
                    f'a frame became {image.dtype} of shape {image.shape}: a step that was added '
                    f'by `then` or `resize` is to make uint8 of shape {self.shape[1:]}'
                )
            yield image

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.load(), dtype)


def loaded(imgs: Any) -> Any:
    """Frames, converted if they have not been yet."""
    return imgs.load() if isinstance(imgs, DeferredFrames) else imgs
