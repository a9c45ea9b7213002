"""Groups of parameters as TSN and TSM are trained with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .constructor import GroupingConstructor

__all__ = ['TSMOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TSMOptimWrapperConstructor(GroupingConstructor):
    """Biases learn at twice the rate and without decay, norms without decay.

    With `paramwise_cfg=dict(fc_lr5=True)` the last linear layer, the classifier, has 5 times
    the rate (its bias 10 times). Seven groups, in this order: weight and bias of the first
    convolution, other weights, other biases, norms, weight and bias of the classifier.

    Raises:
        ValueError: A layer is none of convolution, linear and norm, but has parameters.

    Source: the class of this name in mmaction2 1.x (Lin et al., TSM, ICCV 2019).
    """

    def groups(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """The seven groups."""
        first: list[Any] = []
        others: list[Any] = []
        norms: list[Any] = []
        for layer in model.modules():
            if isinstance(layer, _ConvNd) and not first:
                first.append(layer)
            elif isinstance(layer, (_ConvNd, nn.Linear)):
                others.append(layer)
            elif isinstance(layer, (_BatchNorm, nn.GroupNorm)):
                norms += layer.parameters(recurse=False)
            elif next(layer.parameters(recurse=False), None) is not None:
                raise ValueError(
                    f'TSMOptimWrapperConstructor has no rule for a {type(layer).__name__}: it '
                    'takes models of convolutions, linear layers and norms'
                )
        last = [others.pop()] if self.paramwise_cfg.get('fc_lr5') else []
        for members, rate, decays in (
            ([layer.weight for layer in first], 1, True),
            ([layer.bias for layer in first], 2, False),
            ([layer.weight for layer in others], 1, True),
            ([layer.bias for layer in others], 2, False),
            (norms, 1, False),
            ([layer.weight for layer in last], 5, True),
            ([layer.bias for layer in last], 10, False),
        ):
            learning = [p for p in members if p is not None and p.requires_grad]
            decay = self.base_wd if decays else 0
            yield dict(params=learning, lr=self.base_lr * rate, weight_decay=decay)
