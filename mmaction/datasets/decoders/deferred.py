"""Frames that are decoded when they are needed, so that the decoder crops and resizes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .pyav_reader import PyAVReader
from .reader import Indices

__all__ = ['DeferredFrames', 'loaded']


class DeferredFrames:
    """Frames (N, H, W, 3) of a video that crops and resizes are still added to.

    Crops and resizes become one crop and one resize of the frames as decoded, before they
    are converted to RGB. Without a resize the pixels are those of the frames themselves.

    Args:
        reader: Of the video; closed when the frames have been decoded.
        indices: Of N frames, in any order.
        size: (w, h) of the frames.
        box: What is taken of each frame: (left, top, right, bottom) in its pixels.
    """

    def __init__(
        self,
        reader: PyAVReader,
        indices: Indices,
        size: tuple[int, int],
        box: tuple[float, float, float, float] | None = None,
    ) -> None:
        self._reader = reader
        self._indices = indices
        self._size = size
        self._box = box or (0.0, 0.0, float(size[0]), float(size[1]))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3)."""
        width, height = self._size
        return len(self._indices), height, width, 3

    def __len__(self) -> int:
        return len(self._indices)

    def crop(self, box: tuple[int, int, int, int]) -> DeferredFrames:
        """The part (left, top, right, bottom) of each frame."""
        left, top, right, bottom = self._box
        x_scale, y_scale = (right - left) / self._size[0], (bottom - top) / self._size[1]
        inner = (
            left + box[0] * x_scale,
            top + box[1] * y_scale,
            left + box[2] * x_scale,
            top + box[3] * y_scale,
        )
        size = box[2] - box[0], box[3] - box[1]
        return DeferredFrames(self._reader, self._indices, size, inner)

    def resize(self, size: tuple[int, int]) -> DeferredFrames:
        """The frames in another size (w, h)."""
        return DeferredFrames(self._reader, self._indices, size, self._box)

    def load(self) -> np.ndarray:
        """Decode the frames.

        Raises:
            UnreadableVideoError: One is damaged or missing.
        """
        left, top, right, bottom = (round(side) for side in self._box)
        box = left, top, max(right, left + 1), max(bottom, top + 1)
        frames = self._reader.get_batch(self._indices, view=(box, self._size))
        self._reader.close()
        return frames

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.load(), dtype)


def loaded(imgs: Any) -> Any:
    """Frames, decoded if they have not been yet."""
    return imgs.load() if isinstance(imgs, DeferredFrames) else imgs
