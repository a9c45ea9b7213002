"""Facts about the GPU that choices of kernels depend on."""

from __future__ import annotations

import torch

__all__ = ['gpu_name']


@torch.compiler.assume_constant_result
def gpu_name(index: int | None) -> str:
    """Name of a GPU, of the current one if None; empty where there is none."""
    return torch.cuda.get_device_name(index) if torch.cuda.is_available() else ''
