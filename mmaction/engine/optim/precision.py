"""Optimiser wrappers for each precision, and the switch between them.

They take the names of mmengine's wrappers in the registry of mmaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import nn

from mmaction.registry import OPTIM_WRAPPERS

from ..errors import ConfigError
from ..launch import precision_default

__all__ = ['AmpOptimWrapper', 'ApexOptimWrapper', 'OptimWrapper', 'precision_of', 'set_precision']

PRECISIONS = ('auto', 'bf16', 'fp16', 'off', 'apex')


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_OptimWrapper):
    """mmengine's wrapper in fp32."""


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Mixed precision by PyTorch's autocast, on GPUs and on CPUs.

    Args:
        dtype: 'bfloat16' or 'float16'; by default bfloat16 where the device
            computes it.
        loss_scale: 'dynamic', a number, or arguments of `torch.amp.GradScaler`.
            Only float16 is scaled.
        optimizer: The optimiser.
        kwargs: `accumulative_counts`, `clip_grad`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: str | torch.dtype | None = None,
        loss_scale: str | float | dict[str, Any] = 'dynamic',
        **kwargs: Any,
    ) -> None:
        super().__init__(optimizer, **kwargs)
        if dtype is None:
            dtype = 'bfloat16' if precision_default() == 'bf16' else 'float16'
        names = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
        self.dtype = names.get(str(dtype).removeprefix('torch.'))
        if self.dtype is None:
            raise ConfigError(f"optim_wrapper.dtype is 'bfloat16' or 'float16', not {dtype!r}")
        self.device_type = get_device()
        self.loss_scaler = _scaler(self.device_type, loss_scale, self.dtype)
        self.fixed_scale = float(loss_scale) if isinstance(loss_scale, (int, float)) else None

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Add the gradients of the scaled loss."""
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, unless a scaled gradient has overflown."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self.fixed_scale)

    def state_dict(self) -> dict[str, Any]:
        """The state of optimiser and loss scaler."""
        return {**super().state_dict(), 'loss_scaler': self.loss_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave; a run in another precision has no scaler state."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield


def _scaler(
    device: str, loss_scale: str | float | dict[str, Any], dtype: torch.dtype
) -> torch.amp.GradScaler:
    if dtype is torch.bfloat16:
        return torch.amp.GradScaler(device, enabled=False)
    if loss_scale == 'dynamic':
        return torch.amp.GradScaler(device)
    if isinstance(loss_scale, dict):
        return torch.amp.GradScaler(device, **loss_scale)
    if isinstance(loss_scale, (int, float)):
        return torch.amp.GradScaler(device, init_scale=float(loss_scale))
    raise ConfigError(f"optim_wrapper.loss_scale is 'dynamic', a number or a dict: {loss_scale!r}")


def apex_amp() -> Any:
    """The module `apex.amp`.

    Raises:
        ConfigError: It cannot be imported.
    """
    try:
        amp = import_module('apex.amp')
    except ImportError as error:
        raise ConfigError(
            'ApexOptimWrapper needs apex.amp, which cannot be imported here (NVIDIA removed it '
            'from apex in May 2025). PyTorch has the same built in: --amp fp16 (dynamic loss '
            'scale, as apex O1) or --amp bf16'
        ) from error
    return amp


@OPTIM_WRAPPERS.register_module(name='ApexOptimWrapper')
def ApexOptimWrapper(**kwargs: Any) -> _OptimWrapper:
    """mmengine's wrapper around apex.amp, where apex still has it.

    Raises:
        ConfigError: apex.amp cannot be imported.
    """
    apex_amp()
    from mmengine.optim import ApexOptimWrapper as Wrapper

    return Wrapper(**kwargs)


def precision_of(wrapper: Any) -> str:
    """The precision that a wrapper, or its config, computes in, in a few words."""
    if isinstance(wrapper, dict):
        kind, dtype = wrapper.get('type', 'OptimWrapper'), wrapper.get('dtype')
    else:
        kind, dtype = type(wrapper).__name__, getattr(wrapper, 'dtype', None)
    if kind == 'AmpOptimWrapper':
        half = str(dtype).removeprefix('torch.') == 'float16'
        return 'fp16 with loss scaling' if half else 'bf16'
    return 'apex fp16' if kind == 'ApexOptimWrapper' else 'fp32'


def set_precision(cfg: Config, precision: str) -> None:
    """Change a config to another precision.

    Args:
        cfg: The config; its `optim_wrapper` is changed.
        precision: 'bf16', 'fp16' (dynamic loss scale), 'off', 'apex', or 'auto':
            bf16 where the device computes it, else fp16.

    Raises:
        ConfigError: The precision is unknown, or apex.amp is not there.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f'--amp takes {", ".join(PRECISIONS[1:])}, not "{precision}"')
    wrapper = cfg.optim_wrapper
    for key in ('dtype', 'loss_scale', 'opt_level', 'use_fsdp'):
        wrapper.pop(key, None)
    if precision == 'auto':
        precision = precision_default()
    if precision == 'off':
        wrapper.type = 'OptimWrapper'
    elif precision == 'apex':
        apex_amp()
        wrapper.type, wrapper.opt_level = 'ApexOptimWrapper', 'O1'
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'bfloat16' if precision == 'bf16' else 'float16'
