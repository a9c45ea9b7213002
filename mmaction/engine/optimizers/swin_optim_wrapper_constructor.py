"""Learning rates and weight decay by parts of parameter names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .constructor import GroupingConstructor

__all__ = ['SwinOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SwinOptimWrapperConstructor(GroupingConstructor):
    """Multiply by the `lr_mult` and `decay_mult` of every rule whose key is in the name.

    Each parameter is a group of its own, frozen ones too, in the order of
    `named_parameters`: optimizer states of mmaction2's checkpoints fit.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with its optimizer.
        paramwise_cfg: Part of a name -> `dict(lr_mult=..., decay_mult=...)`, such as
            `dict(backbone=dict(lr_mult=0.1), norm=dict(decay_mult=0.0))`.

    Source: the class of this name in mmaction2 1.2.
    """

    def groups(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """One group for each parameter."""
        for name, parameter in model.named_parameters():
            group: dict[str, Any] = dict(params=[parameter])
            # As in mmaction2, where names begin so.
            rules = [rule for key, rule in self.paramwise_cfg.items() if key in f'base.{name}']
            if parameter.requires_grad:
                group['lr'] = self.base_lr * math.prod(rule.get('lr_mult', 1) for rule in rules)
            if parameter.requires_grad and self.base_wd is not None:
                decay = math.prod(rule.get('decay_mult', 1) for rule in rules)
                group['weight_decay'] = self.base_wd * decay
            yield group
