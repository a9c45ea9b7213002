"""Which parameters an optimizer gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, cast

from mmengine.optim import DefaultOptimWrapperConstructor as _DefaultOptimWrapperConstructor
from mmengine.optim import OptimWrapper
from torch import nn

from mmaction.errors import ConfigError
from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['DefaultOptimWrapperConstructor', 'GroupingConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor(_DefaultOptimWrapperConstructor):
    """mmengine's constructor, which leaves frozen parameters out.

    Takes its arguments. mmengine's own leaves them out only where there is a
    `paramwise_cfg`.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build optimizer and wrapper for the parameters of a model that learn.

        Raises:
            ConfigError: None does.
        """
        model = cast(nn.Module, getattr(model, 'module', model))
        learning = nn.ParameterList(p for p in model.parameters() if p.requires_grad)
        if not len(learning):
            raise ConfigError('every parameter of the model is frozen: nothing is left to train')
        # Rules of a `paramwise_cfg` go by the names in the model.
        return super().__call__(model if self.paramwise_cfg else learning)


class GroupingConstructor(DefaultOptimWrapperConstructor, ABC):
    """Base of the constructors that see a whole model at once, not module by module."""

    @abstractmethod
    def groups(self, model: nn.Module) -> Iterable[dict[str, Any]]:
        """The parameter groups of a model, as PyTorch's optimizers take them."""

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: float | None = None,
    ) -> None:
        """Append the groups of a model to `params`."""
        params.extend(self.groups(module))
