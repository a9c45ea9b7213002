"""Pure functions on the frames of a clip, and the bookkeeping that crops share.

Frames come in one of two forms, and every function returns the form it was given:
one array of shape (T, H, W, C) or (T, H, W), or a list of T arrays (H, W, C) or
(H, W). Boxes are (left, top, right, bottom) in pixels, right and bottom excluded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from mmaction.datasets.decoders.deferred import DeferredFrames

__all__ = [
    'Box',
    'Frames',
    'apply_crop',
    'begin',
    'check_interpolation',
    'clip_name',
    'crop_frames',
    'flip_frames',
    'join_frames',
    'map_frames',
    'pair',
    'pending',
    'resize_frames',
    'split_channels',
]

Frames: TypeAlias = 'np.ndarray | list[np.ndarray]'
Box: TypeAlias = 'tuple[int, int, int, int]'

INTERPOLATIONS = {
    'nearest': 'INTER_NEAREST',
    'bilinear': 'INTER_LINEAR',
    'bicubic': 'INTER_CUBIC',
    'area': 'INTER_AREA',
    'lanczos': 'INTER_LANCZOS4',
}
_NOT_FOLLOWED = ('keypoint', 'gt_bboxes', 'proposals')


def check_interpolation(name: str) -> str:
    """Return `name` if frames can be resized by it.

    Raises:
        ValueError: The name is not one of `INTERPOLATIONS`.
    """
    if name not in INTERPOLATIONS:
        raise ValueError(f'interpolation={name!r} is unknown; use one of {list(INTERPOLATIONS)}')
    return name


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """A size as (w, h), from one integer or from (w, h).

    Raises:
        TypeError: It is neither.
        ValueError: A side is not positive.
    """
    sides = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(sides, Sequence)
        or isinstance(sides, str)
        or len(sides) != 2
        or not all(isinstance(side, int) for side in sides)
    ):
        raise TypeError(f'{name} must be an int or (width, height) in pixels, not {value!r}')
    if min(sides) <= 0:
        raise ValueError(f'{name}={value!r} must be positive')
    return sides[0], sides[1]


def clip_name(results: dict[str, Any]) -> str:
    """What to call the clip in an error message."""
    return str(results.get('filename') or results.get('frame_dir') or 'this clip')


def crop_frames(imgs: Any, box: Box) -> Any:
    """The part of each frame inside `box`, as views; frames may be `DeferredFrames`."""
    left, top, right, bottom = box
    if isinstance(imgs, DeferredFrames):
        return imgs.crop(box)
    if isinstance(imgs, np.ndarray):
        return imgs[:, top:bottom, left:right]
    return [img[top:bottom, left:right] for img in imgs]


def resize_frames(imgs: Any, size: tuple[int, int], interpolation: str = 'bilinear') -> Any:
    """Frames resized to `size` (w, h) by OpenCV; frames of that size already are kept.

    Source: OpenCV's `resize`, of which `mmcv.imresize` is a thin cover.
    """
    import cv2

    width, height = size
    flag = getattr(cv2, INTERPOLATIONS[interpolation])
    if isinstance(imgs, DeferredFrames):
        return imgs.resize(
            size,
            lambda image: cv2.resize(image, size, interpolation=flag),
            by_area=interpolation in ('bilinear', 'area'),
        )
    if len(imgs) == 0 or imgs[0].shape[:2] == (height, width):
        return imgs
    shapes = [(height, width, *img.shape[2:]) for img in imgs]
    out = _empty_like(imgs, shapes)
    for source, target in zip(imgs, out, strict=True):
        cv2.resize(source, (width, height), dst=target, interpolation=flag)
    return out


def flip_frames(imgs: Any, direction: str) -> Any:
    """Frames mirrored left to right ('horizontal') or top to bottom ('vertical'), as a copy.

    OpenCV's copy is much faster than any later pass over a view of negative stride.
    """
    import cv2

    code = 1 if direction == 'horizontal' else 0
    if isinstance(imgs, DeferredFrames):
        _, height, width, _ = imgs.shape
        return imgs.then(lambda image: cv2.flip(image, code), (width, height))
    out = _empty_like(imgs, [img.shape for img in imgs])
    for source, target in zip(imgs, out, strict=True):
        cv2.flip(source, code, dst=target)
    return out


def split_channels(imgs: Iterable[np.ndarray], out: np.ndarray) -> None:
    """Copy T frames (H, W, C) or (H, W) into `out`, a view of shape (T, C, H, W).

    Each plane out[t, c] must be contiguous. OpenCV takes the channels of bytes
    apart several times faster than a transposed copy.
    """
    import cv2

    for source, planes in zip(imgs, out, strict=True):
        if source.ndim == 3 and source.dtype == np.uint8:
            cv2.split(source, list(planes))
        else:
            np.copyto(planes, source[None] if source.ndim == 2 else source.transpose(2, 0, 1))


def map_frames(imgs: Frames, function: Callable[[np.ndarray], np.ndarray]) -> Frames:
    """Frames after `function`, which keeps the shape and type of a frame."""
    if isinstance(imgs, list):
        return [function(img) for img in imgs]
    out = np.empty(imgs.shape, imgs.dtype)
    for source, target in zip(imgs, out, strict=True):
        target[...] = function(source)
    return out


def _empty_like(imgs: Frames, shapes: Sequence[tuple[int, ...]]) -> Frames:
    """New frames of these shapes, in the form and type of `imgs`."""
    if isinstance(imgs, np.ndarray):
        return np.empty((len(imgs), *shapes[0]), imgs.dtype)
    return [np.empty(shape, img.dtype) for img, shape in zip(imgs, shapes, strict=True)]


def join_frames(parts: Sequence[Frames]) -> Frames:
    """The frames of all parts, one part after the other, in the form of the first."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(list(parts))
    return [img for part in parts for img in part]


def begin(results: dict[str, Any], lazy: bool) -> tuple[int, int]:
    """Make `results` ready for a geometric transform.

    Sets `img_shape` if it is missing. With `lazy`, also opens the record of
    pending operations that `Fuse` carries out.

    Args:
        results: The clip; `imgs` or `img_shape` is needed.
        lazy: Whether the transform only records what is to be done.

    Returns:
        (h, w), the size the frames have, or will have once pending operations are done.

    Raises:
        ValueError: A transform that is not lazy follows a lazy one without `Fuse`,
            or the clip has boxes or key points, which would stay behind.
    """
    left_behind = [key for key in _NOT_FOLLOWED if key in results]
    if left_behind:
        raise ValueError(
            f'{clip_name(results)} has {left_behind}, but transforms here move frames only'
        )
    if 'img_shape' not in results:
        results['img_shape'] = tuple(results['imgs'][0].shape[:2])
    height, width = results['img_shape']
    if not lazy:
        if 'lazy' in results:
            raise ValueError('lazy transforms are pending: put Fuse before one that is not lazy')
    elif 'lazy' not in results:
        results['lazy'] = dict(
            original_shape=results['img_shape'],
            crop_bbox=np.array([0, 0, width, height], np.float32),
            flip=False,
            flip_direction=None,
            interpolation=None,
        )
    return height, width


def pending(results: dict[str, Any]) -> dict[str, Any]:
    """The record of lazy operations, to which a crop or resize is to be added.

    Raises:
        ValueError: A lazy flip is recorded already; it has to come last.
    """
    if results['lazy']['flip']:
        raise ValueError('a lazy Flip must come after all lazy crops and Resize')
    lazy: dict[str, Any] = results['lazy']
    return lazy


def apply_crop(results: dict[str, Any], box: Box, lazy: bool) -> dict[str, Any]:
    """Crop the frames to `box`, or record it, and write the keys of a crop.

    Writes `imgs`, `img_shape`, `crop_bbox` (the box, in pixels of the frames as
    they came) and `crop_quadruple` (x, y, w, h as fractions of the first frame
    that was cropped; float32).
    """
    height, width = results['img_shape']
    left, top, right, bottom = box
    results['crop_bbox'] = np.array(box)
    results['img_shape'] = (bottom - top, right - left)
    x, y, w, h = results.get('crop_quadruple', np.array([0, 0, 1, 1], np.float32))
    results['crop_quadruple'] = np.array(
        [
            x + left / width * w,
            y + top / height * h,
            (right - left) / width * w,
            (bottom - top) / height * h,
        ],
        np.float32,
    )
    if lazy:
        record = pending(results)
        outer_left, outer_top, outer_right, outer_bottom = record['crop_bbox']
        x_scale = (outer_right - outer_left) / width
        y_scale = (outer_bottom - outer_top) / height
        record['crop_bbox'] = np.array(
            [
                outer_left + left * x_scale,
                outer_top + top * y_scale,
                outer_left + right * x_scale,
                outer_top + bottom * y_scale,
            ],
            np.float32,
        )
    else:
        results['imgs'] = crop_frames(results['imgs'], box)
    return results
