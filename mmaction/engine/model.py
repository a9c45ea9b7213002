"""Weight initializers that configs name."""

from __future__ import annotations

import math
from typing import Any

from mmengine.model import BaseInit, update_init_info
from torch import nn

from mmaction.registry import WEIGHT_INITIALIZERS

__all__ = ['ConvBranchInit']


@WEIGHT_INITIALIZERS.register_module('ConvBranch')
class ConvBranchInit(BaseInit):
    """Normal weights for parallel convolutions whose outputs are added, biases 0.

    The deviation is sqrt(2 / (out * in * kernel * branches)), with the first axis of the
    kernel.

    Args:
        name: Attribute of the module, a list of convolutions.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def __call__(self, module: nn.Module) -> None:
        """Initialize the branches of a module."""
        branches = getattr(module, self.name)
        for conv in branches:
            fan = math.prod(conv.weight.shape[:3]) * len(branches)
            nn.init.normal_(conv.weight, 0, math.sqrt(2 / fan))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        if hasattr(branches, '_params_init_info'):
            update_init_info(branches, init_info=type(self).__name__)
