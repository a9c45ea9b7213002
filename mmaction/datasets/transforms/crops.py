"""Transforms that cut a part out of every frame.

Sizes are (w, h) in pixels, `img_shape` is (h, w). A crop of one array of frames
is a view; the pixels are copied by whatever follows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmaction.registry import TRANSFORMS

from .base import BaseTransform
from .functional import (
    Box,
    Frames,
    apply_crop,
    begin,
    clip_name,
    crop_frames,
    flip_frames,
    join_frames,
    pair,
)

__all__ = [
    'CenterCrop',
    'MultiScaleCrop',
    'RandomCrop',
    'RandomResizedCrop',
    'TenCrop',
    'ThreeCrop',
]

_RANGE_ERROR = '{}={} must be two numbers, the first above 0 and not above the second'


def _check_fits(crop: BaseTransform, results: dict[str, Any], size: tuple[int, int]) -> None:
    height, width = results['img_shape']
    if size[0] > width or size[1] > height:
        raise ValueError(
            f'{type(crop).__name__} of {size[0]}x{size[1]} pixels (width x height) does not fit '
            f'in the {width}x{height} frames of {clip_name(results)}: put Resize before it'
        )


def _check_range(name: str, value: Sequence[float]) -> tuple[float, float]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(_RANGE_ERROR.format(name, value))
    if not 0 < value[0] <= value[1]:
        raise ValueError(_RANGE_ERROR.format(name, value))
    return value[0], value[1]


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Crop a square at a random place, the same in all frames.

    As in mmaction2 the last possible offset is never drawn, unless it is 0.
    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox, crop_quadruple, lazy.

    Args:
        size: Side of the square in pixels.
        lazy: Only record the crop for `Fuse`.

    Raises:
        TypeError: `size` is not an integer.
        ValueError: It is not positive.
        ValueError: The frames are smaller than the square.
    """

    takes_deferred = True
    shown = ('size', 'lazy')

    def __init__(self, size: int, lazy: bool = False) -> None:
        if not isinstance(size, int):
            raise TypeError(f'size must be an int, not {size!r}')
        self.size, _ = pair(size, 'size')
        self.lazy = lazy

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results`."""
        height, width = begin(results, self.lazy)
        _check_fits(self, results, (self.size, self.size))
        top = int(np.random.randint(0, height - self.size)) if height > self.size else 0
        left = int(np.random.randint(0, width - self.size)) if width > self.size else 0
        box = (left, top, left + self.size, top + self.size)
        return apply_crop(results, box, self.lazy)


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a rectangle of random area and aspect ratio; `Resize` is to follow.

    The share of the area is uniform, the aspect ratio (w / h) log-uniform. Ten
    pairs are drawn at once and the first that fits is placed at random; if none
    fits, the largest centered square is taken. Source: the crop of GoogLeNet
    (Szegedy et al., 2015), with the draws of mmaction2.
    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox, crop_quadruple, lazy.

    Args:
        area_range: Least and greatest share of the area, in (0, 1].
        aspect_ratio_range: Least and greatest w / h.
        lazy: Only record the crop for `Fuse`.

    Raises:
        TypeError, ValueError: A range is not two numbers in order.
    """

    takes_deferred = True
    shown = ('area_range', 'aspect_ratio_range', 'lazy')

    def __init__(
        self,
        area_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
        lazy: bool = False,
    ) -> None:
        self.area_range = _check_range('area_range', area_range)
        if self.area_range[1] > 1:
            raise ValueError(f'area_range={area_range} must not exceed 1, the whole frame')
        self.aspect_ratio_range = _check_range('aspect_ratio_range', aspect_ratio_range)
        self.lazy = lazy

    @staticmethod
    def get_crop_bbox(
        img_shape: tuple[int, int],
        area_range: Sequence[float],
        aspect_ratio_range: Sequence[float],
        max_attempts: int = 10,
    ) -> Box:
        """Draw the box for frames of `img_shape` (h, w)."""
        height, width = img_shape
        low, high = np.log(aspect_ratio_range)
        aspect_ratios = np.exp(np.random.uniform(low, high, size=max_attempts))
        least, greatest = area_range
        areas = np.random.uniform(least, greatest, size=max_attempts) * (height * width)
        widths = np.round(np.sqrt(areas * aspect_ratios)).astype(int).tolist()
        heights = np.round(np.sqrt(areas / aspect_ratios)).astype(int).tolist()
        for crop_w, crop_h in zip(widths, heights, strict=True):
            if 0 < crop_w <= width and 0 < crop_h <= height:
                left = random.randint(0, width - crop_w)
                top = random.randint(0, height - crop_h)
                return left, top, left + crop_w, top + crop_h
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results`."""
        shape = begin(results, self.lazy)
        box = self.get_crop_bbox(shape, self.area_range, self.aspect_ratio_range)
        return apply_crop(results, box, self.lazy)


@TRANSFORMS.register_module()
class MultiScaleCrop(BaseTransform):
    """Crop at a random scale from one of a few fixed places; `Resize` is to follow.

    The sides are the short side of the frame times two of `scales`; a side
    within 2 pixels of the input size becomes that size, if it fits. Source: the
    multi-scale cropping of TSN (Wang et al., 2016).
    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox, crop_quadruple,
    scales, lazy.

    Args:
        input_size: Size of the network's input, int or (w, h).
        scales: Scales to draw from, relative to the short side.
        max_wh_scale_gap: How many places apart in `scales` the scales of width
            and height may be.
        random_crop: Place the crop anywhere instead of at a fixed place.
        num_fixed_crops: 5 (corners and center) or 13 (eight more between them).
        lazy: Only record the crop for `Fuse`.

    Raises:
        TypeError: `scales` is no tuple or list, or `input_size` no size.
        ValueError: `num_fixed_crops` is neither 5 nor 13, or a scale exceeds 1.
    """

    takes_deferred = True
    shown = (
        'input_size',
        'scales',
        'max_wh_scale_gap',
        'random_crop',
        'num_fixed_crops',
        'lazy',
    )

    def __init__(
        self,
        input_size: int | Sequence[int],
        scales: Sequence[float] = (1,),
        max_wh_scale_gap: int = 1,
        random_crop: bool = False,
        num_fixed_crops: int = 5,
        lazy: bool = False,
    ) -> None:
        self.input_size = pair(input_size, 'input_size')
        if not isinstance(scales, (tuple, list)):
            raise TypeError(f'scales must be a tuple of numbers, not {scales!r}')
        if not scales or not 0 < min(scales) <= max(scales) <= 1:
            raise ValueError(f'scales={scales} must all lie above 0 and not above 1')
        if num_fixed_crops not in (5, 13):
            raise ValueError(f'num_fixed_crops={num_fixed_crops} must be 5 or 13')
        self.scales = scales
        self.max_wh_scale_gap = max_wh_scale_gap
        self.random_crop = random_crop
        self.num_fixed_crops = num_fixed_crops
        self.lazy = lazy

    def _draw_size(self, height: int, width: int) -> tuple[int, int]:
        sides = [int(min(height, width) * scale) for scale in self.scales]
        crop_w, crop_h = random.choice(
            [
                (w, h)
                for i, h in enumerate(sides)
                for j, w in enumerate(sides)
                if abs(i - j) <= self.max_wh_scale_gap
            ]
        )
        input_w, input_h = self.input_size
        if abs(crop_w - input_w) < 3 and input_w <= width:
            crop_w = input_w
        if abs(crop_h - input_h) < 3 and input_h <= height:
            crop_h = input_h
        return crop_w, crop_h

    def _draw_place(self, spare_w: int, spare_h: int) -> tuple[int, int]:
        if self.random_crop:
            return random.randint(0, spare_w), random.randint(0, spare_h)
        places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
        if self.num_fixed_crops == 13:
            places += [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]
        x_quarters, y_quarters = random.choice(places)
        return x_quarters * (spare_w // 4), y_quarters * (spare_h // 4)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results`."""
        height, width = begin(results, self.lazy)
        crop_w, crop_h = self._draw_size(height, width)
        left, top = self._draw_place(width - crop_w, height - crop_h)
        results['scales'] = self.scales
        return apply_crop(results, (left, top, left + crop_w, top + crop_h), self.lazy)


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Crop the center of all frames.

    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox, crop_quadruple, lazy.

    Args:
        crop_size: Size in pixels, int or (w, h).
        lazy: Only record the crop for `Fuse`.

    Raises:
        TypeError: `crop_size` is no size.
        ValueError: The frames are smaller than the crop.
    """

    takes_deferred = True
    shown = ('crop_size', 'lazy')

    def __init__(self, crop_size: int | Sequence[int], lazy: bool = False) -> None:
        self.crop_size = pair(crop_size, 'crop_size')
        self.lazy = lazy

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results`."""
        height, width = begin(results, self.lazy)
        _check_fits(self, results, self.crop_size)
        crop_w, crop_h = self.crop_size
        left, top = (width - crop_w) // 2, (height - crop_h) // 2
        return apply_crop(results, (left, top, left + crop_w, top + crop_h), self.lazy)


def _multi_crop(
    results: dict[str, Any],
    size: tuple[int, int],
    offsets: Sequence[tuple[int, int]],
    mirror: bool = False,
) -> dict[str, Any]:
    """Crop at each offset (x, y), crop-major; with `mirror` each crop and its mirror image."""
    crops: list[Frames] = []
    boxes: list[Box] = []
    for left, top in offsets:
        box = (left, top, left + size[0], top + size[1])
        crop = crop_frames(results['imgs'], box)
        crops += [crop, flip_frames(crop, 'horizontal')] if mirror else [crop]
        boxes += [box] * (len(crop) * (1 + mirror))
    results['imgs'] = join_frames(crops)
    results['crop_bbox'] = np.array(boxes)
    results['img_shape'] = (size[1], size[0])
    return results


@TRANSFORMS.register_module()
class ThreeCrop(BaseTransform):
    """Three crops along the longer side, for testing: first, last, middle.

    One side of the crop must be that of the frame. All frames of the first crop
    come before those of the second.
    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox (one row per frame).

    Args:
        crop_size: Size in pixels, int or (w, h).

    Raises:
        TypeError: `crop_size` is no size.
        ValueError: Neither side of the crop is that of the frames, or it does not fit.
    """

    shown = ('crop_size',)

    def __init__(self, crop_size: int | Sequence[int]) -> None:
        self.crop_size = pair(crop_size, 'crop_size')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results` three times."""
        height, width = begin(results, lazy=False)
        crop_w, crop_h = self.crop_size
        _check_fits(self, results, self.crop_size)
        if crop_h == height:
            step = (width - crop_w) // 2
            offsets = [(0, 0), (2 * step, 0), (step, 0)]
        elif crop_w == width:
            step = (height - crop_h) // 2
            offsets = [(0, 0), (0, 2 * step), (0, step)]
        else:
            raise ValueError(
                f'ThreeCrop of {crop_w}x{crop_h} pixels (width x height) needs frames with one '
                f'of these sides, not the {width}x{height} of {clip_name(results)}: put Resize '
                f'with scale=(-1, {min(self.crop_size)}) before it'
            )
        return _multi_crop(results, self.crop_size, offsets)


@TRANSFORMS.register_module()
class TenCrop(BaseTransform):
    """The four corners and the center, each followed by its mirror image.

    All frames of the first crop come before those of the second.
    Reads imgs, img_shape; writes imgs, img_shape, crop_bbox (one row per frame).

    Args:
        crop_size: Size in pixels, int or (w, h).

    Raises:
        TypeError: `crop_size` is no size.
        ValueError: The frames are smaller than the crop.
    """

    shown = ('crop_size',)

    def __init__(self, crop_size: int | Sequence[int]) -> None:
        self.crop_size = pair(crop_size, 'crop_size')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop the frames of `results` ten times."""
        height, width = begin(results, lazy=False)
        _check_fits(self, results, self.crop_size)
        w_step = (width - self.crop_size[0]) // 4
        h_step = (height - self.crop_size[1]) // 4
        places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
        offsets = [(x * w_step, y * h_step) for x, y in places]
        return _multi_crop(results, self.crop_size, offsets, mirror=True)
