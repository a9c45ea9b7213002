"""Layers that compute faster on CPUs than PyTorch's, in their place."""

from __future__ import annotations

from torch import nn

from .conv3d_cpu import use_fast_conv3d
from .depthwise_cpu import use_fast_depthwise
from .linear_cpu import use_fast_linear

__all__ = ['use_fast_layers']


def use_fast_layers(model: nn.Module) -> None:
    """Make convolutions and linear layers of a model those of this package, in place.

    On other devices they compute as before. Weights, hooks and names stay what they are.
    """
    use_fast_conv3d(model)
    use_fast_depthwise(model)
    use_fast_linear(model)
