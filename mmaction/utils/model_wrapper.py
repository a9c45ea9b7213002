"""The model within what wraps it for several ranks."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

__all__ = ['bare_model']


def bare_model(model: nn.Module) -> Any:
    """The model without its wrapper, such as `MMDistributedDataParallel`."""
    return model.module if is_model_wrapper(model) else model
