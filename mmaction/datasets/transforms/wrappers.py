"""Transforms of other libraries, by name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from mmaction.registry import TRANSFORMS
from mmaction.utils.suggest import did_you_mean

from .base import BaseTransform
from .functional import clip_name


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
        ValueError: torchvision has no such transform.
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
        imgs = results['imgs']
        clip = torch.from_numpy(np.ascontiguousarray(imgs)).permute(0, 3, 1, 2)
        out = self.trans(clip)
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
