"""What a run sets for its GPU, and takes back when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import utils as device_utils
from torch.optim import Optimizer

__all__ = ['device_settings', 'fused_by_default', 'leave_out_apple_gpus', 'settings_text']


def leave_out_apple_gpus() -> None:
    """Have mmengine train on the CPU of a Mac: nothing here has ever run on an Apple GPU."""
    if device_utils.get_device() == 'mps':
        device_utils.DEVICE = 'cpu'


@contextmanager
def device_settings(device: str, environment: Mapping[str, Any], *, exact: bool) -> Iterator[None]:
    """Fast products and convolutions within a block; nothing is changed on a CPU.

    fp32 products and convolutions run in TF32, and cuDNN measures which algorithm is fastest for
    each shape, unless the config says otherwise.

    Args:
        device: 'cpu' or a GPU.
        environment: The config's `env_cfg`: `tf32` and `cudnn_benchmark` are read.
        exact: Whether the run is deterministic, which no measurement is.
    """
    if not str(device).startswith('cuda'):
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.allow_tf32
    torch.set_float32_matmul_precision('high' if _tf32(environment) else 'highest')
    cudnn.benchmark = _benchmark(environment) and not exact
    cudnn.allow_tf32 = _tf32(environment)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.benchmark, cudnn.allow_tf32 = before[1:]


def _tf32(environment: Mapping[str, Any]) -> bool:
    return bool(environment.get('tf32', True))


def _benchmark(environment: Mapping[str, Any]) -> bool:
    return bool(environment.get('cudnn_benchmark', True))


def settings_text(
    optimizer: Optimizer, compiled: bool, environment: Mapping[str, Any], *, exact: bool
) -> str:
    """What is on, in one line: of the GPU's settings, the optimizer and the compiler."""
    inner = getattr(optimizer, 'optim', optimizer)
    fused = any(group.get('fused') for group in inner.param_groups)
    on_gpu = torch.cuda.is_available()
    parts = [f'{"fused " if fused else ""}{type(inner).__name__}']
    parts += ['TF32 for fp32 products'] if on_gpu and _tf32(environment) else []
    parts += ['cudnn.benchmark'] if on_gpu and _benchmark(environment) and not exact else []
    parts.append('compiled block by block' if compiled else 'not compiled')
    return ', '.join(parts)


def fused_by_default(optimizer: dict[str, Any], device: str) -> dict[str, Any]:
    """The config of an optimizer with `fused=True`, where it is Adam or AdamW on a GPU.

    Fused kernels read and write each parameter once, and heed a flag that calls the step off.
    A config that chooses an implementation itself keeps it.
    """
    kind = optimizer.get('optimizer_type', optimizer.get('type'))
    chosen = {'fused', 'foreach', 'capturable', 'differentiable'} & set(optimizer)
    if not str(device).startswith('cuda') or kind not in ('Adam', 'AdamW') or chosen:
        return optimizer
    return {**optimizer, 'fused': True}
