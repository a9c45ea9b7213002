"""Depthwise 3-D convolutions on CPUs, where PyTorch's are slow, above all their gradients.

`depthwise_cpu.cpp` has kernels for them (docs/performance.md). Where these cannot be had (see
`cpp_library`), the gradient of the weights is, for each position of the convolution's kernel, the
product of gradient and shifted input, which still is faster than PyTorch's own. The gradient of
the input is a convolution itself, with the kernel turned round.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.utils.flop_counter import register_flop_formula

from .cpp_library import load_library
from .cpu import can_run_operators

__all__ = ['DepthwiseConv3d', 'depthwise_conv3d']

Size3 = tuple[int, int, int]

_LAST = torch.channels_last_3d

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""Of which the gradients of weights and biases are summed in fp32."""


def depthwise_conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3, stride: Size3 = (1, 1, 1)
) -> Tensor:
    """A convolution in which each channel has a kernel of its own.

    Args:
        x: (B, C, T, H, W).
        weight: (C, 1, kt, kh, kw).
        bias: (C,).
        padding: Zeros at both ends of T, H and W, fewer than the kernel is long.
        stride: Steps along T, H and W.

    Returns:
        (B, C, T', H', W'), T' = (T + 2 pt - kt) // st + 1 and so on.
    """
    if (
        x.device.type == 'cpu'
        and can_run_operators()
        and x.dtype in _FLOATS
        and _fits(x, weight, bias, padding)
        # Without the kernels, gradients of larger strides are no faster than PyTorch's.
        and (max(stride) <= 2 or _has_kernels())
    ):
        y: Tensor = _DepthwiseConv3d.apply(x, weight, bias, padding, stride)
        return y
    return F.conv3d(x, weight, bias, stride, padding, groups=weight.shape[0])


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3) -> bool:
    """Whether all sizes are as they have to be; PyTorch says what is wrong, or does the rest."""
    return (
        x.dim() == weight.dim() == 5
        and weight.shape[:2] == (x.shape[1], 1)
        and (bias is None or bias.shape == (x.shape[1],))
        and all(
            p < k <= n + 2 * p
            for n, k, p in zip(x.shape[2:], weight.shape[2:], padding, strict=True)
        )
    )


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type='cpu')
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3, stride: Size3
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.stride = padding, stride
        return _convolve(x, weight, bias, padding, stride)

    @staticmethod
    @custom_bwd(device_type='cpu')
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        found: list[Tensor | None] = [None, None, None, None, None]
        # PyTorch's convolution wants channels last.
        contiguous = x.is_contiguous() and _takes(grad, weight, None)
        layout = torch.contiguous_format if contiguous else _LAST
        grad = grad.contiguous(memory_format=layout)
        if of_x:
            left = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
            # What all steps of 1 would give: n + 2 p - k + 1 along an axis.
            size = [n + p - q for n, p, q in zip(x.shape[2:], ctx.padding, left, strict=True)]
            turned = weight.flip(2, 3, 4).to(grad.dtype)
            dx = _convolve(_spread(grad, ctx.stride, size, layout), turned, None, left, (1, 1, 1))
            found[0] = dx.contiguous() if x.is_contiguous() else dx
        if of_weight:
            function = _weight_gradient if _can_run() else _sums_of_products
            found[1] = function(x, grad, list(weight.shape[2:]), ctx.padding, ctx.stride)
        if of_bias:
            found[2] = grad.float().sum((0, 2, 3, 4))
        return tuple(found)


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    # With channels last, PyTorch's is as fast.
    if x.is_contiguous() and _takes(x, weight, bias):
        y: Tensor = _forward(x, weight, bias, padding, stride)
        return y
    # With one thread, PyTorch takes oneDNN for one row and column only if they are dilated.
    dilation = [2 if k == 1 else 1 for k in weight.shape[2:]]
    return F.conv3d(x, weight, bias, stride, padding, dilation, groups=weight.shape[0])


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    dtypes = {t.dtype for t in (x, weight, bias) if t is not None}
    return dtypes == {torch.float32} and not torch.is_autocast_enabled('cpu') and _can_run()


def _can_run() -> bool:
    # Gradients of gradients need PyTorch's operators.
    return not torch.is_grad_enabled() and _has_kernels()


def _spread(
    grad: Tensor, stride: Size3, size: Sequence[int], layout: torch.memory_format
) -> Tensor:
    """The gradient of the same convolution without strides: zeros where these left nothing."""
    if tuple(size) == tuple(grad.shape[2:]):
        return grad
    like: Any = dict(dtype=grad.dtype, device=grad.device, memory_format=layout)
    spread: Tensor = torch.empty((*grad.shape[:2], *size), **like).zero_()
    t, h, w = stride
    spread[:, :, ::t, ::h, ::w] = grad
    return spread


def _sums_of_products(
    x: Tensor, grad: Tensor, kernel: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """The gradient of the weights by PyTorch's operators."""
    wide = grad.float().permute(0, 2, 3, 4, 1)
    pt, ph, pw = padding
    padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, pw, pw, ph, ph, pt, pt))
    sums = []
    for place in itertools.product(*map(range, kernel)):
        axes = zip(place, wide.shape[1:4], stride, strict=True)
        t, h, w = (slice(a, a + (n - 1) * step + 1, step) for a, n, step in axes)
        sums.append((padded[:, t, h, w] * wide).sum((0, 1, 2, 3)))
    return torch.stack(sums, -1).view(-1, 1, *kernel)


# ---------------------------------------------------------------- kernels


@torch.compiler.assume_constant_result
def _has_kernels() -> bool:
    return _library() is not None


@lru_cache
def _library() -> ctypes.CDLL | None:
    source = Path(__file__).with_suffix('.cpp')
    return load_library(source, 'depthwise convolutions run', _is_right)


def _is_right(library: ctypes.CDLL) -> bool:
    numbers = torch.linspace(-9, 9, 2 * 19 * 11 * 7 * 12, dtype=torch.float32, device='cpu').sin()
    x, weight = numbers.view(2, 19, 11, 7, 12), numbers[: 19 * 24].view(19, 1, 3, 2, 4)
    bias, padding, stride = weight[:, 0, 0, 0, 0].contiguous(), (1, 1, 2), (1, 2, 1)
    y = F.conv3d(x, weight, bias, stride, padding, groups=19)
    of_weight = _sums_of_products(x, y, (3, 2, 4), padding, stride)
    pairs = [(_call_forward(library, x, weight, bias, padding, stride), y)]
    for layout in (torch.contiguous_format, _LAST):
        x, grad = (tensor.contiguous(memory_format=layout) for tensor in (x, y))
        found = _call_weight_gradient(library, x, grad, (3, 2, 4), padding, stride)
        pairs.append((found, of_weight))
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in pairs)


class _Clips(ctypes.Structure):
    _fields_ = (
        ('data', ctypes.c_void_p),
        *((stride, ctypes.c_long) for stride in ('batch', 'channel', 'frame', 'position')),
    )


class _Conv(ctypes.Structure):
    _fields_ = (('sizes', 15 * ctypes.c_long),)


def _clips(x: Tensor) -> _Clips:
    """Clips in either layout; an axis of one entry may have any stride."""
    _, C, T, H, W = x.shape
    strides = (T * H * W, H * W, 1) if x.is_contiguous() else (1, H * W * C, C)
    return _Clips(x.data_ptr(), C * T * H * W, *strides)


def _run(function: Any, arguments: Sequence[Any], x: Tensor, *sizes: Sequence[int]) -> None:
    conv = _Conv(tuple(itertools.chain(x.shape[2:], *sizes)))
    threads = ctypes.c_int(torch.get_num_threads())
    if function(*arguments, *map(ctypes.c_long, x.shape[:2]), conv, threads):
        # As PyTorch's allocator says it, of the same class.
        raise RuntimeError(
            f"a depthwise convolution can't allocate memory: its input has the shape "
            f'{tuple(x.shape)}'
        )


def _address(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _size_after(
    x: Tensor, kernel: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> list[int]:
    axes = zip(x.shape[2:], kernel, padding, stride, strict=True)
    return [(n + 2 * p - k) // step + 1 for n, k, p, step in axes]


def _call_forward(
    library: ctypes.CDLL,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    kernel = weight.shape[2:]
    y = x.new_empty(*x.shape[:2], *_size_after(x, kernel, padding, stride))
    arguments = _clips(x), *map(_address, (weight, bias, y))
    _run(library.depthwise_forward, arguments, x, y.shape[2:], kernel, padding, stride)
    return y


def _call_weight_gradient(
    library: ctypes.CDLL,
    x: Tensor,
    grad: Tensor,
    kernel: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    x, grad = _floats(x), _floats(grad)
    found = x.new_empty(x.shape[1], 1, *kernel)
    arguments = _clips(x), _clips(grad), _address(found)
    function = library.depthwise_weight_gradient
    _run(function, arguments, x, grad.shape[2:], kernel, padding, stride)
    return found


def _floats(x: Tensor) -> Tensor:
    x = x.float()
    return x if x.is_contiguous(memory_format=_LAST) else x.contiguous()


# ---------------------------------------------------------------- operators


@torch.library.custom_op('mmaction::cpu_depthwise', mutates_args=(), device_types='cpu')
def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    library = _library()
    assert library is not None
    return _call_forward(library, x, weight, bias, padding, stride)


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,  # noqa: ARG001 (by name, as the others)
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    return x.new_empty(*x.shape[:2], *_size_after(x, weight.shape[2:], padding, stride))


@torch.library.custom_op('mmaction::cpu_depthwise_weights', mutates_args=(), device_types='cpu')
def _weight_gradient(
    x: Tensor, grad: Tensor, kernel: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    library = _library()
    assert library is not None
    return _call_weight_gradient(library, x, grad, kernel, padding, stride)


@_weight_gradient.register_fake
def _(
    x: Tensor,
    grad: Tensor,  # noqa: ARG001 (by name, as the others)
    kernel: Sequence[int],
    padding: Sequence[int],  # noqa: ARG001
    stride: Sequence[int],  # noqa: ARG001
) -> Tensor:
    return x.new_empty(x.shape[1], 1, *kernel, dtype=torch.float32)


@register_flop_formula(torch.ops.mmaction.cpu_depthwise)
def _(_: Any, weight: Any, *__: Any, out_shape: Any, **___: Any) -> Any:
    return 2 * math.prod(out_shape) * math.prod(weight[2:])


@register_flop_formula(torch.ops.mmaction.cpu_depthwise_weights)
def _(_: Any, grad: Any, kernel: Any, *__: Any, **___: Any) -> Any:
    return 2 * math.prod(grad) * math.prod(kernel)


# ---------------------------------------------------------------- layers


class DepthwiseConv3d(nn.Conv3d):
    """A layer that computes with `depthwise_conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W')."""
        padding: Any = self.padding
        stride: Any = self.stride
        return depthwise_conv3d(x, self.weight, self.bias, padding, stride)
