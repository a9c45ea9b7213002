"""Adafactor of transformers, imported when a config names it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from mmaction.errors import ConfigError
from mmaction.registry import OPTIMIZERS

__all__ = ['build_adafactor']


@OPTIMIZERS.register_module('Adafactor')
def build_adafactor(
    params: Iterable[Tensor] | Iterable[dict[str, Any]], **settings: Any
) -> Optimizer:
    """The optimizer `Adafactor` of transformers.

    mmengine registers it under this name, too; importing transformers takes seconds, which each
    start would pay.

    Args:
        params: Parameters, or groups of them.
        settings: What `transformers.Adafactor` takes.

    Raises:
        ConfigError: transformers is not installed.
    """
    try:
        from transformers import Adafactor
    except ImportError as error:
        raise ConfigError(
            f'optim_wrapper.optimizer.type="Adafactor" needs transformers, which cannot be '
            f'imported ({error}): pip install transformers, or choose another optimizer'
        ) from error
    optimizer: Optimizer = Adafactor(params, **settings)
    return optimizer
