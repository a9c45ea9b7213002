"""The position generator's operation, x + depthwise 3x3x3 convolution of x, in several ways.

DualFormer's tokens are channels-last, for which no library has a fast depthwise 3-D
convolution on every device. Each method here computes the same (forward and the gradients of
all three inputs, sums in fp32); which one is fastest depends on device, dtype and size, and
`choose_method` says which one runs. `tools/analysis_tools/benchmark_gpu.py` measures them.

- `conv`: PyTorch's convolution on a channels-last view. Nothing is copied. On a GPU this is
  cuDNN's grouped convolution, slow backward, and wrong in bf16 with cuDNN 9.8 to 9.10
  (pytorch issue 163539).
- `native`: the same on a channels-first copy, for which PyTorch has a CUDA kernel of its own
  for 3x3x3.
- `products`: 27 shifted products, which torch.compile fuses into one kernel. Slow in eager.
- `triton`: one Triton kernel fused with identity and bias; custom ops, so that torch.compile
  and activation checkpointing take them as they are.
"""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .gpu import gpu_name

__all__ = ['METHODS', 'add_position', 'choose_method']

METHODS = ('conv', 'native', 'products', 'triton')

MEASURED: dict[str, str] = {
    'NVIDIA H200/bfloat16/eager': 'triton',
    'NVIDIA H200/bfloat16/compiled': 'triton',
}
"""Fastest method by `device name/dtype/compiled or eager`."""

_TAPS = tuple(itertools.product(range(3), repeat=3))


def choose_method(x: Tensor) -> str:
    """The method for tokens `x` (B, T, H, W, C): the measured one, else the safe one."""
    if x.device.type != 'cuda':
        return 'conv'
    mode = 'compiled' if torch.compiler.is_compiling() else 'eager'
    dtype = str(_dtype_of(x)).removeprefix('torch.')
    return MEASURED.get(f'{gpu_name(x.device.index)}/{dtype}/{mode}', 'native')


def _dtype_of(x: Tensor) -> torch.dtype:
    """The dtype in which autocast would run a convolution of x."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def add_position(x: Tensor, weight: Tensor, bias: Tensor, method: str | None = None) -> Tensor:
    """x + depthwise 3x3x3 convolution of x, with zeros beyond the grid.

    Args:
        x: Tokens (B, T, H, W, C).
        weight: Kernel (C, 1, 3, 3, 3).
        bias: (C,).
        method: One of `METHODS`; by default `choose_method` decides.

    Returns:
        (B, T, H, W, C) in the dtype of `x`. Under autocast, `conv` and `native` convolve in its
        dtype; the others in that of `x`.

    Raises:
        ValueError: The method is unknown, or Triton is not installed.
    """
    method = method or choose_method(x)
    if method == 'conv':
        return (x + _conv(x, weight, bias)).to(x.dtype)
    if method == 'native':
        y = F.conv3d(
            x.permute(0, 4, 1, 2, 3).contiguous(), weight, bias, padding=1, groups=x.shape[-1]
        )
        return (x + y.permute(0, 2, 3, 4, 1)).to(x.dtype)
    if method == 'products':
        return x + _products(x, weight, bias)
    if method == 'triton':
        if find_spec('triton') is None:
            raise ValueError("method='triton' needs the package triton, which is not installed")
        from . import position_triton

        fused: Tensor = position_triton.add_position(x.contiguous(), weight, bias)
        return fused
    raise ValueError(f'method is one of {", ".join(METHODS)}, found {method!r}')


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.permute(0, 4, 1, 2, 3)  # (B, C, T, H, W), a channels-last view
    return F.conv3d(x, weight, bias, padding=1, groups=x.shape[1]).permute(0, 2, 3, 4, 1)


def _shifts(x: Tensor) -> list[Tensor]:
    """The 27 views of a zero-padded (B, T, H, W, C) that the kernel's positions see."""
    T, H, W = x.shape[1:4]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1, 1, 1))
    return [padded[:, t : t + T, h : h + H, w : w + W] for t, h, w in _TAPS]


def _products(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y: Tensor = _Products.apply(x, weight, bias)
    return y


class _Products(torch.autograd.Function):
    """The convolution as 27 products, with gradients that are 27 products as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _weighted_shifts(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        grad_x = _weighted_shifts(grad, weight.flip(2, 3, 4), None)
        wide = grad.float()
        sums = [(cut.float() * wide).sum((0, 1, 2, 3)) for cut in _shifts(x)]
        grad_weight = torch.stack(sums, -1).view(weight.shape).to(weight.dtype)
        return grad_x, grad_weight, wide.sum((0, 1, 2, 3)).to(weight.dtype)


def _weighted_shifts(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    taps = weight.flatten(1).t().float()  # (27, C)
    total = sum(cut.float() * tap for cut, tap in zip(_shifts(x), taps, strict=True))
    assert isinstance(total, Tensor)
    return (total if bias is None else total + bias.float()).to(x.dtype)
