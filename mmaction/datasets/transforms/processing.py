"""Transforms of size and orientation, and the one that carries out lazy ones.

Crops are in `crops.py`, color and erasing in `color.py`; they can be imported
from here too, where mmaction2 keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mmaction.datasets.decoders.deferred import loaded
from mmaction.registry import TRANSFORMS

from .base import BaseTransform
from .color import ColorJitter, RandomErasing
from .crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from .functional import (
    Frames,
    begin,
    check_interpolation,
    clip_name,
    crop_frames,
    flip_frames,
    pending,
    resize_frames,
)
from .mirrored_names import mirrored_labels

__all__ = [
    'CenterCrop',
    'ColorJitter',
    'Flip',
    'Fuse',
    'MultiScaleCrop',
    'RandomCrop',
    'RandomErasing',
    'RandomRescale',
    'RandomResizedCrop',
    'Resize',
    'TenCrop',
    'ThreeCrop',
]


def rescale_size(size: tuple[int, int], scale: float | tuple[float, float]) -> tuple[int, int]:
    """The size (w, h) after scaling, with the aspect ratio kept.

    Args:
        size: (w, h) in pixels.
        scale: A factor, or two bounds: the larger one for the longer side, the
            smaller one for the shorter; the result is the largest that keeps both.

    Returns:
        (w, h), rounded half up. Source: `rescale_size` of mmcv.
    """
    if isinstance(scale, tuple):
        factor = min(max(scale) / max(size), min(scale) / min(size))
    else:
        factor = float(scale)
    return int(size[0] * factor + 0.5), int(size[1] * factor + 0.5)


@TRANSFORMS.register_module()
class Resize(BaseTransform):
    """Resize all frames.

    Reads imgs, img_shape; writes imgs, img_shape, keep_ratio, scale_factor
    (float32 (w, h), over all resizes so far), lazy.

    Args:
        scale: A factor (float), or (w, h). With `keep_ratio`, the larger number
            bounds the longer side and the smaller one the shorter; (-1, s) makes
            the shorter side s.
        keep_ratio: Keep the aspect ratio; if not, the size is `scale` exactly.
        interpolation: 'nearest', 'bilinear', 'bicubic', 'area' or 'lanczos'.
        lazy: Only record the resize for `Fuse`.

    Raises:
        TypeError: `scale` is neither a float nor two integers.
        ValueError: `scale` is not positive, or `interpolation` is unknown.
    """

    takes_deferred = True
    shown = ('scale', 'keep_ratio', 'interpolation', 'lazy')

    def __init__(
        self,
        scale: float | Sequence[int],
        keep_ratio: bool = True,
        interpolation: str = 'bilinear',
        lazy: bool = False,
    ) -> None:
        self.scale = self._check_scale(scale, keep_ratio)
        self.keep_ratio = keep_ratio
        self.interpolation = check_interpolation(interpolation)
        self.lazy = lazy

    @staticmethod
    def _check_scale(scale: float | Sequence[int], keep_ratio: bool) -> float | tuple[float, float]:
        hint = 'give a float, or (width, height), or (-1, short side) with keep_ratio=True'
        if isinstance(scale, float):
            if scale <= 0 or not keep_ratio:
                raise ValueError(f'scale={scale}, keep_ratio={keep_ratio}: {hint}, all positive')
            return scale
        if (
            not isinstance(scale, (tuple, list))
            or len(scale) != 2
            or not all(isinstance(side, int) for side in scale)
        ):
            raise TypeError(f'scale={scale!r}: {hint}')
        if min(scale) == -1 and max(scale) > 0 and keep_ratio:
            return math.inf, max(scale)
        if min(scale) <= 0:
            raise ValueError(f'scale={tuple(scale)}, keep_ratio={keep_ratio}: {hint}')
        return scale[0], scale[1]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Resize the frames of `results`."""
        height, width = begin(results, self.lazy)
        if self.keep_ratio or isinstance(self.scale, float):
            new_w, new_h = rescale_size((width, height), self.scale)
        else:
            new_w, new_h = (int(side) for side in self.scale)
        if min(new_w, new_h) < 1:
            raise ValueError(
                f'Resize with scale={self.scale} leaves nothing of the {width}x{height} frames '
                f'of {clip_name(results)}'
            )
        factor = np.array([new_w / width, new_h / height], np.float32)
        results['scale_factor'] = results.get('scale_factor', np.ones(2, np.float32)) * factor
        results['img_shape'] = (new_h, new_w)
        results['keep_ratio'] = self.keep_ratio
        if self.lazy:
            pending(results)['interpolation'] = self.interpolation
        else:
            results['imgs'] = resize_frames(results['imgs'], (new_w, new_h), self.interpolation)
        return results


@TRANSFORMS.register_module()
class RandomRescale(BaseTransform):
    """Resize all frames so that the shorter side has a random length.

    Reads imgs, img_shape; writes imgs, img_shape, keep_ratio, scale_factor, short_edge.

    Args:
        scale_range: Least and greatest length of the shorter side in pixels, both
            possible.
        interpolation: As for `Resize`.

    Raises:
        TypeError, ValueError: `scale_range` is not two positive integers in order.
    """

    takes_deferred = True
    shown = ('scale_range', 'interpolation')

    def __init__(self, scale_range: Sequence[int], interpolation: str = 'bilinear') -> None:
        if (
            not isinstance(scale_range, (tuple, list))
            or len(scale_range) != 2
            or not all(isinstance(side, int) for side in scale_range)
        ):
            raise TypeError(f'scale_range={scale_range!r} must be two integers')
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range={scale_range} must be positive and in order')
        self.scale_range = scale_range
        self.interpolation = check_interpolation(interpolation)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Resize the frames of `results`."""
        short_edge = int(np.random.randint(self.scale_range[0], self.scale_range[1] + 1))
        results = Resize((-1, short_edge), interpolation=self.interpolation).transform(results)
        results['short_edge'] = short_edge
        return results


@TRANSFORMS.register_module()
class Flip(BaseTransform):
    """Mirror all frames of the clip, or none.

    The frames given are not changed. Frames of optical flow
    (`modality='Flow'`) are mirrored horizontally only, and their x component is
    inverted (255 - x): channel 0 of frames (H, W, 2), or every other frame, from
    the first, of frames (H, W) that hold x and y in turn.
    Reads imgs, img_shape, modality, label; writes imgs, flip, flip_direction,
    label, lazy.

    Args:
        flip_ratio: Probability of a flip.
        direction: 'horizontal' or 'vertical'.
        flip_label_map: Label of a clip -> label of the mirrored clip, for those
            that change ("left to right"): numbers, or names of classes, which the
            dataset resolves (`bind_classes`). Classes of other names are not touched.
            'names': told from the names of the classes (`mirrored_labels`); clips of a
            class whose mirrored one does not exist stay as they are.
        left_kp: Taken for old configs; must be None, key points are not handled.
        right_kp: As `left_kp`.
        lazy: Only record the flip for `Fuse`.

    Raises:
        ValueError: `direction` is unknown, or a key point index is given, or flow
            is to be flipped vertically or lazily, or `flip_label_map` is something else
            or names classes that no dataset has resolved.
        TypeError: `flip_label_map` meets a label that is neither an integer nor a tensor with ones
            at the labels of a clip.
    """

    takes_deferred = True
    shown = ('flip_ratio', 'direction', 'flip_label_map', 'lazy')

    def __init__(
        self,
        flip_ratio: float = 0.5,
        direction: str = 'horizontal',
        flip_label_map: Mapping[int | str, int | str] | str | None = None,
        left_kp: Sequence[int] | None = None,
        right_kp: Sequence[int] | None = None,
        lazy: bool = False,
    ) -> None:
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(f"direction={direction!r} must be 'horizontal' or 'vertical'")
        if left_kp is not None or right_kp is not None:
            raise ValueError('left_kp and right_kp must be None: key points are not handled')
        if isinstance(flip_label_map, Mapping):
            # a config that was JSON once has "86" for 86
            flip_label_map = {
                int(a) if isinstance(b, int) and str(a).isdigit() else a: b
                for a, b in flip_label_map.items()
            }
        given: Any = {} if flip_label_map in (None, 'names') else flip_label_map
        pairs: Any = given.items() if isinstance(given, Mapping) else [(None, None)]
        kinds = {type(one) for pair in pairs for one in pair}
        if not (kinds <= {int} or kinds <= {str}):
            raise ValueError(
                f'flip_label_map={flip_label_map!r} must be a dict from integer to integer, '
                "such as {4: 6, 6: 4}, or from class name to class name, or 'names'"
            )
        self.flip_ratio = flip_ratio
        self.direction = direction
        self.flip_label_map = flip_label_map
        self.swaps: dict[int, int] | None = None
        self.fixed: frozenset[int] = frozenset()
        """Labels of which no clip is flipped."""
        if kinds <= {int} and flip_label_map != 'names':
            self.swaps = {int(a): int(b) for a, b in pairs}
        self.lazy = lazy

    def bind_classes(self, classes: Sequence[str] | None) -> None:
        """Turn names in `flip_label_map` into the labels of a dataset.

        A map whose names are all unknown is of another dataset and swaps nothing.

        Args:
            classes: Names of the classes; None if the dataset knows none.

        Raises:
            ValueError: Some of the names or labels of the map exist, others do not.
        """
        if not self.flip_label_map:
            return
        if isinstance(self.flip_label_map, str):
            self.swaps, self.fixed = mirrored_labels(classes or (), self.direction)
            return
        labels = {name: label for label, name in enumerate(classes or ())}
        named = {one for pair in self.flip_label_map.items() for one in pair}
        if self.swaps is not None and {type(one) for one in named} == {int}:
            missing = [one for one in sorted(named) if classes and int(one) >= len(classes)]
        else:
            missing = sorted(str(one) for one in named if one not in labels)
            if len(missing) == len(named):
                self.swaps = {}
                return
            if not missing:
                self.swaps = {
                    labels[str(a)]: labels[str(b)] for a, b in self.flip_label_map.items()
                }
        if missing:
            raise ValueError(
                f'flip_label_map of Flip: {", ".join(map(str, missing))} is none of the '
                f'{len(labels)} classes: give the classes that a mirrored clip changes, or None'
            )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flip the frames of `results`, with the probability asked for."""
        begin(results, self.lazy)
        flow = results.get('modality', 'RGB') == 'Flow'
        if flow and (self.direction == 'vertical' or self.lazy):
            raise ValueError('optical flow can be flipped horizontally and at once (lazy=False)')
        flip = bool(np.random.rand() < self.flip_ratio)
        if flip and self.flip_label_map:
            results['label'], flip = self._mapped(results['label'])
        results['flip'] = flip
        results['flip_direction'] = self.direction
        if self.lazy:
            record = pending(results)
            record['flip'] = flip
            record['flip_direction'] = self.direction
        elif flip:
            results['imgs'] = flip_frames(results['imgs'], self.direction)
            if flow:
                results['imgs'] = loaded(results['imgs'])
                _invert_x(results['imgs'])
        return results

    def _mapped(self, label: object) -> tuple[Any, bool]:
        """The label of the mirrored clip, and whether there is one."""
        if self.swaps is None:
            raise ValueError(
                'flip_label_map of Flip gives names of classes, which only a dataset can resolve'
            )
        if not (self.swaps or self.fixed):
            return label, True
        if isinstance(label, torch.Tensor) and label.ndim == 1:
            return self._mapped_labels(label)
        if not isinstance(label, (int, np.integer)):
            raise TypeError(
                'flip_label_map needs one integer label per clip, or a tensor with ones at its '
                f'labels, not {label!r}'
            )
        return self.swaps.get(int(label), label), int(label) not in self.fixed

    def _mapped_labels(self, labels: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Map the labels of a clip with several: (number of classes,), with ones at them."""
        if any(labels[label] for label in self.fixed):
            return labels, False
        swaps = self.swaps or {}
        mirrored = labels.clone()
        mirrored[list(swaps)] = 0
        for label, other in swaps.items():
            mirrored[other] = torch.maximum(mirrored[other], labels[label])
        return mirrored, True


def _invert_x(imgs: Frames) -> None:
    """Negate the x component of flow frames in place; in bytes that is 255 - x."""
    stacked = imgs[0].ndim == 3 and imgs[0].shape[-1] == 2
    for img in imgs if stacked else imgs[::2]:
        x = img[..., 0] if stacked else img
        np.subtract(255, x, out=x)


@TRANSFORMS.register_module()
class Fuse(BaseTransform):
    """Carry out the lazy crops, resize and flip: one crop, one resize, one flip.

    Only the pixels that are kept are ever resized. The crop, in pixels of the
    frames as decoded, is rounded.
    Reads imgs, img_shape, lazy; writes imgs; removes lazy.

    Raises:
        ValueError: No lazy transform came before.
    """

    takes_deferred = True

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Carry out what is pending in `results`."""
        if 'lazy' not in results:
            raise ValueError('Fuse has nothing to do: no transform before it has lazy=True')
        record = results.pop('lazy')
        left, top, right, bottom = record['crop_bbox'].round().astype(int).tolist()
        imgs = crop_frames(results['imgs'], (left, top, right, bottom))
        height, width = results['img_shape']
        imgs = resize_frames(imgs, (width, height), record['interpolation'] or 'bilinear')
        if record['flip']:
            imgs = flip_frames(imgs, record['flip_direction'])
        results['imgs'] = imgs
        return results
