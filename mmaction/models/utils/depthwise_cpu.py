"""Depthwise 3-D convolutions whose gradients are fast on a CPU.

PyTorch's own take ten to thirty times as long as the convolution. That of the input is a
convolution itself, with the kernel turned round; that of the kernel is, for each of its positions,
the product of gradient and shifted input.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd

from .cpu import can_run_operators

__all__ = ['DepthwiseConv3d', 'depthwise_conv3d', 'use_fast_depthwise']

Size3 = tuple[int, int, int]


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
    if x.device.type == 'cpu' and torch.is_grad_enabled() and can_run_operators():
        y: Tensor = _DepthwiseConv3d.apply(x, weight, bias, padding, stride)
        return y
    return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type='cpu')
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3, stride: Size3
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.stride = padding, stride
        return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])

    @staticmethod
    @custom_bwd(device_type='cpu')
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        found: list[Tensor | None] = [None, None, None, None, None]
        if of_x:
            left = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
            # What all steps of 1 would give: n + 2 p - k + 1 along an axis.
            size = [n + p - q for n, p, q in zip(x.shape[2:], ctx.padding, left, strict=True)]
            spread = _spread(grad, ctx.stride, size)
            turned = weight.flip(2, 3, 4).to(grad.dtype)
            dx = F.conv3d(spread, turned, padding=left, groups=x.shape[1])
            found[0] = dx.contiguous() if x.is_contiguous() else dx
        wide = grad.float().permute(0, 2, 3, 4, 1)
        if of_weight:
            pt, ph, pw = ctx.padding
            padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, pw, pw, ph, ph, pt, pt))
            sums = []
            for place in itertools.product(*map(range, weight.shape[2:])):
                axes = zip(place, wide.shape[1:4], ctx.stride, strict=True)
                t, h, w = (slice(a, a + (n - 1) * step + 1, step) for a, n, step in axes)
                sums.append((padded[:, t, h, w] * wide).sum((0, 1, 2, 3)))
            found[1] = torch.stack(sums, -1).view(weight.shape)
        if of_bias:
            found[2] = wide.sum((0, 1, 2, 3))
        return tuple(found)


def _spread(grad: Tensor, stride: Size3, size: Sequence[int]) -> Tensor:
    """The gradient of the same convolution without strides: zeros where these left nothing."""
    if tuple(size) == tuple(grad.shape[2:]):
        return grad
    B, C = grad.shape[:2]
    spread = grad.new_zeros(B, *size, C).permute(0, 4, 1, 2, 3)
    t, h, w = stride
    spread[:, :, ::t, ::h, ::w] = grad
    return spread


class DepthwiseConv3d(nn.Conv3d):
    """A layer that computes with `depthwise_conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W')."""
        padding: Any = self.padding
        stride: Any = self.stride
        return depthwise_conv3d(x, self.weight, self.bias, padding, stride)


def use_fast_depthwise(model: nn.Module) -> None:
    """Make the depthwise 3-D convolutions of a model `DepthwiseConv3d`, in place.

    Those of larger strides than 2 stay, as their gradients are no faster than PyTorch's. Weights,
    hooks and names stay what they are.
    """
    for module in model.modules():
        if type(module) is nn.Conv3d and _is_taken(module):
            module.__class__ = DepthwiseConv3d


def _is_taken(conv: nn.Conv3d) -> bool:
    return (
        1 < conv.groups == conv.in_channels == conv.out_channels
        and max(conv.stride) <= 2
        and set(conv.dilation) == {1}
        and conv.padding_mode == 'zeros'
        and not isinstance(conv.padding, str)
        and all(p < k for p, k in zip(conv.padding, conv.kernel_size, strict=True))
    )
