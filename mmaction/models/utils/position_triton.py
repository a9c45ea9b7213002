"""x + depthwise 3x3x3 convolution of x on channels-last tokens, as Triton kernels.

Each program takes a block of tokens of one clip and a block of channels, so that loads of the
27 neighbors are contiguous in the channels and come from the cache but for the first. The
gradient of the kernel is summed per program and then over programs: no atomics, so it is the
same in every run. Sums are in fp32.

TRITON_INTERPRET=1 runs the kernels on a CPU, slowly: that is how they are tested there.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ['add_position']

_TOKENS, _CHANNELS = 32, 64  # of a program
_PROGRAMS = 4096  # for the gradient of the kernel, as many as a large GPU takes at once


@triton.jit
def _forward_kernel(x_ptr, taps_ptr, bias_ptr, y_ptr, T, H, W, C, P: tl.constexpr, K: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0) * P + tl.arange(0, P)
    channel = tl.program_id(2) * K + tl.arange(0, K)
    clip = tl.program_id(1).to(tl.int64) * T * H * W
    t, h, w = token // (H * W), token // W % H, token % W
    in_clip, in_row = token < T * H * W, channel < C
    at = (clip + token)[:, None] * C + channel[None, :]
    mask = in_clip[:, None] & in_row[None, :]
    total = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    total += tl.load(bias_ptr + channel, in_row, 0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(27):
        dt, dh, dw = tap // 9 - 1, tap // 3 % 3 - 1, tap % 3 - 1
        inside = (t + dt >= 0) & (t + dt < T) & (h + dh >= 0) & (h + dh < H)
        inside = inside & (w + dw >= 0) & (w + dw < W) & in_clip
        shift = (dt * H + dh) * W + dw
        x = tl.load(x_ptr + at + shift * C, inside[:, None] & in_row[None, :], 0.0)
        tap_weight = tl.load(taps_ptr + tap * C + channel, in_row, 0.0).to(tl.float32)
        total += x.to(tl.float32) * tap_weight[None, :]
    tl.store(y_ptr + at, total.to(y_ptr.dtype.element_ty), mask)


@triton.jit
def _weight_kernel(x_ptr, grad_ptr, sums_ptr, T, H, W, C, lines, share, K: tl.constexpr):  # type: ignore[no-untyped-def]
    # A row of sums for each of the 27 taps, and row 27 for the bias: nothing is summed over
    # threads. A program takes `share` lines of W tokens, which spares divisions token by token.
    tap = tl.arange(0, 32)
    dt, dh, dw = tap // 9 - 1, tap // 3 % 3 - 1, tap % 3 - 1
    channel = tl.program_id(1) * K + tl.arange(0, K)
    in_row = channel < C
    place = ((dt * H + dh) * W + dw)[:, None] * C + channel[None, :]
    one = (tap == 27)[:, None].to(x_ptr.dtype.element_ty)
    sums = tl.zeros((32, K), tl.float32)
    for i in range(share):
        line = tl.program_id(0) * share + i
        t, h = line // H % T, line % H
        # The interpreter of Triton 3.9 takes no mask of a block and a lone comparison.
        taps, channels = tl.where(line < lines, 27, 0), tl.where(line < lines, C, 0)
        near = (t + dt >= 0) & (t + dt < T) & (h + dh >= 0) & (h + dh < H) & (tap < taps)
        for w in range(W):
            at = (line.to(tl.int64) * W + w) * C
            inside = near & (w + dw >= 0) & (w + dw < W)
            grad = tl.load(grad_ptr + at + channel, channel < channels, 0.0)
            x = tl.load(x_ptr + at + place, inside[:, None] & in_row[None, :], one)
            sums += x.to(tl.float32) * grad.to(tl.float32)[None, :]
    row = tl.program_id(0) * 32 + tap
    tl.store(sums_ptr + row[:, None] * C + channel[None, :], sums, in_row[None, :])


def _convolve(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """(B, T, H, W, C), taps (27, C), bias (C,) -> x + convolution + bias."""
    B, T, H, W, C = x.shape
    y = torch.empty_like(x)
    grid = (triton.cdiv(T * H * W, _TOKENS), B, triton.cdiv(C, _CHANNELS))
    _forward_kernel[grid](x, taps, bias, y, T, H, W, C, _TOKENS, _CHANNELS)
    return y


@torch.library.custom_op('mmaction::add_position', mutates_args=())
def add_position(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x + depthwise 3x3x3 convolution of x.

    Args:
        x: Tokens (B, T, H, W, C), contiguous.
        weight: Kernel (C, 1, 3, 3, 3).
        bias: (C,).
    """
    return _convolve(x, weight.flatten(1).t().contiguous(), bias)


@torch.library.custom_op('mmaction::add_position_backward', mutates_args=())
def add_position_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `add_position` for x, weight and bias."""
    B, T, H, W, C = x.shape
    flipped = weight.flip(2, 3, 4).flatten(1).t().contiguous()
    grad_x = _convolve(grad, flipped, torch.zeros_like(weight[:, 0, 0, 0, 0]))
    lines, blocks = B * T * H, triton.cdiv(C, _CHANNELS)
    programs = max(1, min(lines, _PROGRAMS // blocks))
    sums = torch.empty(programs, 32, C, dtype=torch.float32, device=x.device)
    share = triton.cdiv(lines, programs)
    _weight_kernel[programs, blocks](
        x, grad, sums, T, H, W, C, lines, share, _CHANNELS, num_warps=1
    )
    kernel, bias = sums.sum(0)[:28].split((27, 1))
    # Copies: outputs of a custom op must not share memory. In rows: torch.compile counts on the
    # strides that the fake function below gives.
    grad_weight = kernel.to(weight.dtype).t().clone(memory_format=torch.contiguous_format)
    grad_weight = grad_weight.view(weight.shape)
    return grad_x, grad_weight, bias[0].to(weight.dtype, copy=True)


@add_position.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG001 (by name)
    return torch.empty_like(x)


@add_position_backward.register_fake
def _(
    grad: Tensor,  # noqa: ARG001 (by name)
    x: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), weight.new_empty(weight.shape[0])


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001 (by name)
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    gradients: tuple[Tensor, Tensor, Tensor] = add_position_backward(grad.contiguous(), x, weight)
    return gradients


add_position.register_autograd(_backward, setup_context=_save)
