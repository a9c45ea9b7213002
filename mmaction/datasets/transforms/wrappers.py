"""Transforms of other libraries, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mmaction.registry import TRANSFORMS
from mmaction.utils.suggest import did_you_mean

from .base import BaseTransform
from .clip_augment import AugMix, RandAugment
from .functional import clip_name

__all__ = ['PytorchVideoWrapper', 'TorchVisionWrapper']


@TRANSFORMS.register_module()
class TorchVisionWrapper(BaseTransform):
    """A transform of `torchvision.transforms`, with one draw for the whole clip.

    The op gets all frames as one uint8 tensor (T, C, H, W), so what it draws
    holds for each of them (`RandAugment`, `ColorJitter`, `RandomGrayscale`, ...).
    The result is clipped to 0-255 and truncated to uint8.
    Reads imgs; writes imgs, img_shape.

    Args:
        op: Name of a class in `torchvision.transforms`, such as 'RandAugment'.
        **kwargs: Arguments of the class. `interpolation` may be a name
            ('nearest', 'bilinear', 'bicubic').

    Raises:
        ValueError: torchvision has no such transform, or there are no frames at this place.
        TypeError: The op returns something else than a tensor (T, C, H, W).
    """

    shown = ('op',)

    def __init__(self, op: str, **kwargs: Any) -> None:
        from torchvision import transforms

        names = [name for name, _ in inspect.getmembers(transforms, inspect.isclass)]
        if op not in names:
            raise ValueError(f'torchvision.transforms has no {op!r}{did_you_mean(op, names)}')
        if isinstance(kwargs.get('interpolation'), str):
            kwargs['interpolation'] = transforms.InterpolationMode(kwargs['interpolation'])
        self.op = op
        self.trans = getattr(transforms, op)(**kwargs)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Apply the op to all frames of `results` at once."""
        imgs = results.get('imgs', ())
        array = np.ascontiguousarray(imgs)
        if array.ndim != 4:
            raise ValueError(
                f'{self.op} needs frames (H, W, C): place {type(self).__name__} after decoding and '
                'before FormatShape'
            )
        clip = torch.from_numpy(array).permute(0, 3, 1, 2)
        out = self.apply(clip)
        if not isinstance(out, torch.Tensor) or out.ndim != 4 or len(out) != len(imgs):
            got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise TypeError(
                f'{self.op} made {got} of the {tuple(clip.shape)} frames of {clip_name(results)}; '
                'only ops that return one tensor (T, C, H, W) fit in a pipeline'
            )
        frames = out.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        results['imgs'] = list(frames) if isinstance(imgs, list) else frames
        results['img_shape'] = tuple(frames.shape[1:3])
        return results

    def apply(self, clip: torch.Tensor) -> Any:
        """Apply the op to frames (T, C, H, W)."""
        return self.trans(clip)


def _short_side_scale(size: int, interpolation: str = 'bilinear') -> Callable[..., torch.Tensor]:
    from torchvision import transforms

    mode = transforms.InterpolationMode(interpolation)
    return transforms.Resize(size, mode, antialias=False)


class _RandomShortSideScale:
    """Scale frames (T, C, H, W) so that their shorter side gets a size that is drawn."""

    def __init__(self, min_size: int, max_size: int, interpolation: str = 'bilinear') -> None:
        self.scales = [
            _short_side_scale(size, interpolation) for size in range(min_size, max_size + 1)
        ]

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        return self.scales[int(torch.randint(len(self.scales), ()))](frames)


def _random_resized_crop(
    target_height: int,
    target_width: int,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
    interpolation: str = 'bilinear',
) -> Callable[..., torch.Tensor]:
    from torchvision import transforms

    size = (target_height, target_width)
    mode = transforms.InterpolationMode(interpolation)
    return transforms.RandomResizedCrop(size, scale, aspect_ratio, mode, antialias=False)


@TRANSFORMS.register_module()
class PytorchVideoWrapper(TorchVisionWrapper):
    """A transform of pytorchvideo, whose package no longer works, by torchvision's operations.

    What is drawn holds for all frames. `RandAugment` and `AugMix` work on uint8, the others
    on values from 0 to 1; the result is clipped to 0-255 and truncated to uint8.
    Reads imgs; writes imgs, img_shape.

    Args:
        op: 'RandAugment', 'AugMix', 'RandomResizedCrop', 'ShortSideScale' or
            'RandomShortSideScale'.
        **kwargs: Arguments of the transform, by pytorchvideo's names.

    Raises:
        ValueError: Another `op`, or there are no frames at this place.

    Source: the transform of this name in mmaction2 1.2; pytorchvideo 0.1.5.
    """

    operations: dict[str, Callable[..., Any]] = dict(
        RandAugment=RandAugment,
        AugMix=AugMix,
        RandomResizedCrop=_random_resized_crop,
        ShortSideScale=_short_side_scale,
        RandomShortSideScale=_RandomShortSideScale,
    )

    def __init__(self, op: str, **kwargs: Any) -> None:
        if op not in self.operations:
            raise ValueError(f'op={op!r} of PytorchVideoWrapper is none of {list(self.operations)}')
        self.op = op
        self.trans = self.operations[op](**kwargs)

    def apply(self, clip: torch.Tensor) -> Any:
        """Apply the op to frames (T, C, H, W)."""
        if self.op in ('RandAugment', 'AugMix'):
            return self.trans(clip)
        return self.trans(clip.float() / 255) * 255
