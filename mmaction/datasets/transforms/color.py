"""Transforms that change pixel values and leave the geometry alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmaction.registry import TRANSFORMS

from .base import BaseTransform
from .functional import map_frames

__all__ = ['ColorJitter', 'RandomErasing', 'stretch', 'turn_hue']

# Weights of red, green and blue in a gray value, as mmaction2 has them.
GRAY = np.array([0.2989, 0.587, 0.114])
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue, by the same amounts in all frames.

    The four amounts are drawn uniformly and then the order of the four steps.
    (mmaction2 draws the order once, when the pipeline is built; here it belongs
    to the clip, as every draw does.) Between steps nothing is rounded or clipped
    except before and after the hue. A factor of 1 changes nothing; contrast
    blends with the mean gray of the frame, saturation with the gray frame; hue is
    turned by `int(255 * amount)` half degrees.
    Reads and writes imgs, uint8 RGB.

    Args:
        brightness: Range of the factor as (low, high) within [0, 2], or d for
            (1 - d, 1 + d).
        contrast: As `brightness`.
        saturation: As `brightness`.
        hue: Range of the turn as (low, high) within [-0.5, 0.5], or d for (-d, d).

    Raises:
        ValueError: A range leaves these bounds.
    """

    shown = ('brightness', 'contrast', 'saturation', 'hue')

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.5,
        contrast: float | Sequence[float] = 0.5,
        saturation: float | Sequence[float] = 0.5,
        hue: float | Sequence[float] = 0.1,
    ) -> None:
        self.brightness = self._range('brightness', brightness, 1, 1)
        self.contrast = self._range('contrast', contrast, 1, 1)
        self.saturation = self._range('saturation', saturation, 1, 1)
        self.hue = self._range('hue', hue, 0, 0.5)

    @staticmethod
    def _range(
        name: str, value: float | Sequence[float], center: float, most: float
    ) -> tuple[float, float]:
        if isinstance(value, Sequence):
            low, high = value
        else:
            low, high = center - value, center + value
        if not center - most <= low <= high <= center + most:
            raise ValueError(
                f'{name}={value} must be a number in [0, {most}], or two in order within '
                f'[{center - most}, {center + most}]'
            )
        return low, high

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change the colors of `results`."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        amounts = [np.random.uniform(low, high) for low, high in ranges]
        steps = [(step, amounts[step]) for step in np.random.permutation(4).tolist()]
        turn = steps.index((HUE, amounts[HUE]))

        def change(img: np.ndarray) -> np.ndarray:
            if amounts[HUE] == 0:
                return stretch(img, steps)
            img = turn_hue(stretch(img, steps[:turn]), amounts[HUE])
            return stretch(img, steps[turn + 1 :])

        results['imgs'] = map_frames(results['imgs'], change)
        return results


def stretch(img: np.ndarray, steps: Sequence[tuple[int, float]]) -> np.ndarray:
    """Brightness, contrast and saturation steps on one frame (H, W, 3), uint8.

    Each step is affine in the color of a pixel, given the mean color of the
    frame, so any number of them is one matrix and one pass over the pixels. The
    result is truncated, not rounded, as in mmaction2.
    """
    import cv2

    affine = np.eye(3, 4)
    mean = np.array([*cv2.mean(img)[:3], 1.0])
    for step, amount in steps:
        if step == BRIGHTNESS:
            affine *= amount
        elif step == CONTRAST:
            gray = GRAY @ affine @ mean
            affine *= amount
            affine[:, 3] += (1 - amount) * gray
        elif step == SATURATION:
            affine = amount * affine + (1 - amount) * np.outer(np.ones(3), GRAY @ affine)
    if np.array_equal(affine, np.eye(3, 4)):
        return img
    out = cv2.transform(img.astype(np.float32), affine)
    return np.clip(out, 0, 255, out=out).astype(np.uint8)


def turn_hue(img: np.ndarray, amount: float) -> np.ndarray:
    """Turn the hue of one frame (H, W, 3), uint8, by `int(255 * amount)` half degrees."""
    import cv2

    values = np.arange(256)
    table = np.stack([(values + int(255 * amount)) % 180, values, values], -1).astype(np.uint8)
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB)


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Overwrite one rectangle, at the same place in all frames.

    Its share of the area is uniform, its aspect ratio (h / w) log-uniform.
    Source: Zhong et al., Random Erasing Data Augmentation, AAAI 2020, with the
    draws of mmaction2. Reads and writes imgs; the frames given are not changed.

    Args:
        erase_prob: Probability of erasing.
        min_area_ratio: Least share of the area.
        max_area_ratio: Greatest share of the area.
        aspect_range: Least and greatest h / w, or one number r for it and 1 / r.
        mode: 'const' fills with `fill_color`, 'rand' with noise, new in each frame.
        fill_color: One number, or one per channel; the mean of normal noise.
        fill_std: Standard deviation of normal noise, one number or one per
            channel; None for uniform noise.

    Raises:
        ValueError: An argument lies outside its range.
    """

    shown = (
        'erase_prob',
        'min_area_ratio',
        'max_area_ratio',
        'aspect_range',
        'mode',
        'fill_color',
        'fill_std',
    )

    def __init__(
        self,
        erase_prob: float = 0.5,
        min_area_ratio: float = 0.02,
        max_area_ratio: float = 1 / 3,
        aspect_range: float | Sequence[float] = (3 / 10, 10 / 3),
        mode: str = 'const',
        fill_color: float | Sequence[float] = (128, 128, 128),
        fill_std: float | Sequence[float] | None = None,
    ) -> None:
        if isinstance(aspect_range, (int, float)):
            aspect_range = sorted((aspect_range, 1 / aspect_range))
        if not 0 <= erase_prob <= 1:
            raise ValueError(f'erase_prob={erase_prob} must lie in [0, 1]')
        if not 0 < min_area_ratio <= max_area_ratio <= 1:
            raise ValueError(
                f'min_area_ratio={min_area_ratio} and max_area_ratio={max_area_ratio} must be '
                'in order, above 0 and not above 1'
            )
        if len(aspect_range) != 2 or not 0 < aspect_range[0] <= aspect_range[1]:
            raise ValueError(f'aspect_range={aspect_range} must be two positive numbers in order')
        if mode not in ('const', 'rand'):
            raise ValueError(f"mode={mode!r} must be 'const' or 'rand'")
        self.erase_prob = erase_prob
        self.min_area_ratio = min_area_ratio
        self.max_area_ratio = max_area_ratio
        self.aspect_range = tuple(aspect_range)
        self.mode = mode
        self.fill_color = _three('fill_color', fill_color)
        self.fill_std = None if fill_std is None else _three('fill_std', fill_std)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erase a part of the frames, with the probability asked for."""
        if np.random.rand() > self.erase_prob:
            return results
        imgs = results['imgs']
        top, left, height, width = self._draw_box(*imgs[0].shape[:2])
        noise = self._noise((len(imgs), height, width, imgs[0].shape[2]))
        out = imgs.copy() if isinstance(imgs, np.ndarray) else [img.copy() for img in imgs]
        for img, patch in zip(out, noise, strict=True):
            img[top : top + height, left : left + width] = patch
        results['imgs'] = out
        return results

    def _draw_box(self, img_h: int, img_w: int) -> tuple[int, int, int, int]:
        """(top, left, h, w); the last possible offset is never drawn, unless it is 0."""
        # The range is in float32 in mmaction2, which changes the last digits of a draw.
        low, high = np.log(np.array(self.aspect_range, np.float32))
        aspect = np.exp(np.random.uniform(low, high))
        area = img_h * img_w * np.random.uniform(self.min_area_ratio, self.max_area_ratio)
        height = min(round(math.sqrt(area * aspect)), img_h)
        width = min(round(math.sqrt(area / aspect)), img_w)
        top = np.random.randint(0, img_h - height) if img_h > height else 0
        left = np.random.randint(0, img_w - width) if img_w > width else 0
        return top, left, height, width

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """What the rectangle is filled with: uint8, broadcastable to `shape` by frame."""
        if self.mode == 'const':
            return np.broadcast_to(np.array(self.fill_color, np.uint8), (*shape[:3], 3))
        if self.fill_std is None:
            return np.random.uniform(0, 256, shape).astype(np.uint8)
        noise = np.random.normal(self.fill_color, self.fill_std, shape)
        return np.clip(noise.astype(np.int32), 0, 255).astype(np.uint8)


def _three(name: str, value: float | Sequence[float]) -> tuple[float, ...]:
    values = (value,) * 3 if isinstance(value, (int, float)) else tuple(value)
    if len(values) != 3 or not all(0 <= part <= 255 for part in values):
        raise ValueError(f'{name}={value} must be one number or three, in 0-255')
    return values
