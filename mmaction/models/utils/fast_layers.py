"""Layers that compute faster on CPUs than PyTorch's, in their place."""

from __future__ import annotations

from torch import nn

from .conv3d_cpu import Conv3d
from .depthwise_cpu import DepthwiseConv3d
from .linear_cpu import use_fast_linear

__all__ = ['use_fast_layers']


def use_fast_layers(model: nn.Module) -> None:
    """Make 3-D convolutions and linear layers of a model those of this package, in place.

    On other devices they compute as before. Weights, hooks and names stay what they are.
    """
    use_fast_linear(model)
    for module in model.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = _faster(module)


def _faster(conv: nn.Conv3d) -> type[nn.Conv3d]:
    padding = conv.padding
    if set(conv.dilation) != {1} or conv.padding_mode != 'zeros' or isinstance(padding, str):
        return nn.Conv3d
    if conv.groups == 1:
        return Conv3d
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    shorter = all(p < k for p, k in zip(padding, conv.kernel_size, strict=True))
    return DepthwiseConv3d if depthwise and shorter else nn.Conv3d
