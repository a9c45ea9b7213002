"""RandAugment and AugMix of whole clips, as pytorchvideo has them, by torchvision's operations.

A clip is a uint8 tensor (T, C, H, W); what is drawn holds for all of its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ['AugMix', 'RandAugment']

_MAX_LEVEL = 10
_FILL = (0.5, 0.5, 0.5)


def _functional() -> Any:
    """torchvision's operations, which take a second to import."""
    from torchvision.transforms import functional

    return functional


Operation = Callable[[Tensor, float], Tensor]


def _affine(clip: Tensor, matrix: Sequence[float]) -> Tensor:
    """Move pixels by the 2 x 3 matrix that takes a place of the output to one of the input."""
    from torchvision.transforms import _functional_tensor

    return _functional_tensor.affine(clip, list(matrix), interpolation='bilinear', fill=list(_FILL))


OPERATIONS: dict[str, Operation] = {
    'AdjustBrightness': lambda clip, x: _functional().adjust_brightness(clip, x),
    'AdjustContrast': lambda clip, x: _functional().adjust_contrast(clip, x),
    'AdjustSaturation': lambda clip, x: _functional().adjust_saturation(clip, x),
    'AdjustSharpness': lambda clip, x: _functional().adjust_sharpness(clip, x),
    'AutoContrast': lambda clip, _: _functional().autocontrast(clip),
    'Equalize': lambda clip, _: _functional().equalize(clip),
    'Invert': lambda clip, _: _functional().invert(clip),
    'Rotate': lambda clip, x: _functional().rotate(
        clip, x, _functional().InterpolationMode.BILINEAR, fill=list(_FILL)
    ),
    'Posterize': lambda clip, x: _functional().posterize(clip, int(x)),
    'Solarize': lambda clip, x: _functional().solarize(clip, int(x * 255)),
    'ShearX': lambda clip, x: _affine(clip, (1, x, clip.shape[-2] * x / 2, 0, 1, 0)),
    'ShearY': lambda clip, x: _affine(clip, (1, 0, 0, x, 1, clip.shape[-1] * x / 2)),
    'TranslateX': lambda clip, x: _affine(clip, (1, 0, clip.shape[-1] * x, 0, 1, 0)),
    'TranslateY': lambda clip, x: _affine(clip, (1, 0, 0, 0, 1, clip.shape[-2] * x)),
}
# Argument at level 0, its change up to the highest level, and whether that may be to either side.
# The order is pytorchvideo's, so that one random state draws the same operations.
_ADJUST = (1, 0.9, True)
_MOVE = (0, 0.45, True)
Settings = tuple[float, float, bool]
RAND_AUGMENT: dict[str, Settings] = dict(
    AdjustBrightness=_ADJUST,
    AdjustContrast=_ADJUST,
    AdjustSaturation=_ADJUST,
    AdjustSharpness=_ADJUST,
    AutoContrast=(0, 0, False),
    Equalize=(0, 0, False),
    Invert=(0, 0, False),
    Rotate=(0, 30, True),
    Posterize=(4, -4, False),
    Solarize=(1, -1, False),
    ShearX=(0, 0.3, True),
    ShearY=(0, 0.3, True),
    TranslateX=_MOVE,
    TranslateY=_MOVE,
)
AUG_MIX: dict[str, Settings] = {
    name: settings
    for name, settings in RAND_AUGMENT.items()
    if name != 'Invert' and settings is not _ADJUST
}
AUG_MIX.update(dict.fromkeys(('TranslateX', 'TranslateY'), (0, 1 / 3, True)))
for _name in ('AdjustSaturation', 'AdjustContrast', 'AdjustBrightness', 'AdjustSharpness'):
    AUG_MIX[_name] = (0.1, 1.8, False)


def _random() -> float:
    return torch.rand(1).item()


def _maybe(clip: Tensor, name: str, settings: Settings, prob: float, level: Any) -> Tensor:
    """Do an operation with a probability, at the level that `level()` draws."""
    if _random() > prob:
        return clip
    base, change, either_side = settings
    change *= level() / _MAX_LEVEL
    if either_side and _random() <= 0.5:
        change = -change
    # The bits that Posterize keeps fall in whole steps.
    return OPERATIONS[name](clip, base + (int(change) if name == 'Posterize' else change))


def _drawn(table: dict[str, Settings], count: int, replacement: bool) -> list[str]:
    names = list(table)
    return [names[i] for i in torch.multinomial(torch.ones(len(names)), count, replacement)]


class RandAugment:
    """Some operations, one after the other, each left out by chance.

    Args:
        magnitude: Level of the operations, 0 to 10.
        num_layers: Operations that are drawn, each a different one.
        prob: Probability with which each is done.
        sampling_std: Standard deviation of the level that is drawn around `magnitude`.

    Raises:
        ValueError: More layers than there are operations, or a level outside 0 to 10.

    Source: arXiv:1909.13719; pytorchvideo 0.1.5.
    """

    def __init__(
        self,
        magnitude: float = 9,
        num_layers: int = 2,
        prob: float = 0.5,
        sampling_std: float = 0.5,
    ) -> None:
        if not 1 <= num_layers <= len(RAND_AUGMENT) or not 0 <= magnitude <= _MAX_LEVEL:
            raise ValueError(
                f'RandAugment takes num_layers from 1 to {len(RAND_AUGMENT)} and magnitude from 0 '
                f'to {_MAX_LEVEL}, not {num_layers} and {magnitude}'
            )
        self.magnitude = float(magnitude)
        self.num_layers = num_layers
        self.prob = prob
        self.sampling_std = sampling_std

    def __call__(self, clip: Tensor) -> Tensor:
        """(T, C, H, W) uint8 -> the same."""
        for name in _drawn(RAND_AUGMENT, self.num_layers, replacement=False):
            clip = _maybe(clip, name, RAND_AUGMENT[name], self.prob, self._level)
        return clip

    def _level(self) -> float:
        level = torch.normal(self.magnitude, self.sampling_std, (1,)).item()
        return min(max(level, 0.0), _MAX_LEVEL)


class AugMix:
    """Several chains of operations, mixed with one another and with the clip.

    Args:
        magnitude: Highest level of the operations, 1 to 10.
        alpha: Parameter of the distributions of the weights.
        width: Number of chains.
        depth: Operations of a chain; from 1 to 3 by chance if -1.

    Raises:
        ValueError: A level outside 1 to 10.

    Source: arXiv:1912.02781; pytorchvideo 0.1.5.
    """

    def __init__(
        self, magnitude: int = 3, alpha: float = 1.0, width: int = 3, depth: int = -1
    ) -> None:
        if not 1 <= magnitude <= _MAX_LEVEL:
            raise ValueError(f'AugMix takes magnitude from 1 to {_MAX_LEVEL}, not {magnitude}')
        self.magnitude = magnitude
        self.depth = depth
        self.weights: Any = torch.distributions.Dirichlet(torch.full((width,), float(alpha)))
        self.share: Any = torch.distributions.Beta(float(alpha), float(alpha))

    def __call__(self, clip: Tensor) -> Tensor:
        """(T, C, H, W) uint8 -> the same."""
        weights, share = self.weights.sample(), self.share.sample()
        mixed = torch.zeros(clip.shape)
        for weight in weights:
            mixed += weight * self._chain(clip)
        blended: Tensor = (share * clip + (1 - share) * mixed).to(torch.uint8)
        return blended

    def _chain(self, clip: Tensor) -> Tensor:
        depth = self.depth if self.depth > 0 else int(torch.randint(1, 4, (1,)))
        for name in _drawn(AUG_MIX, depth, replacement=True):
            clip = _maybe(clip, name, AUG_MIX[name], 1.0, self._level)
        return clip

    def _level(self) -> float:
        return _random() * (self.magnitude - 0.1) + 0.1
