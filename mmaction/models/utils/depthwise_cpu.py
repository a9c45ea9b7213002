"""Depthwise 3-D convolutions whose gradients are fast on a CPU.

PyTorch's own take ten to thirty times as long as the convolution. That of the input is a
convolution itself, with the kernel turned round; that of the kernel is, for each of its positions,
the product of gradient and shifted input.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd

from .cpu import is_exporting

__all__ = ['DepthwiseConv3d', 'depthwise_conv3d', 'use_fast_depthwise']

Size3 = tuple[int, int, int]


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3) -> Tensor:
    """A convolution of stride 1 in which each channel has a kernel of its own.

    Args:
        x: (B, C, T, H, W).
        weight: (C, 1, kt, kh, kw).
        bias: (C,).
        padding: Zeros at both ends of T, H and W, fewer than the kernel is long.

    Returns:
        (B, C, T + 2 pt - kt + 1, H + 2 ph - kh + 1, W + 2 pw - kw + 1).
    """
    if (
        x.device.type == 'cpu'
        and torch.is_grad_enabled()
        and not is_exporting()
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001 (no public name)
    ):
        y: Tensor = _DepthwiseConv3d.apply(x, weight, bias, padding)
        return y
    return F.conv3d(x, weight, bias, padding=padding, groups=x.shape[1])


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type='cpu')
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv3d(x, weight, bias, padding=padding, groups=x.shape[1])

    @staticmethod
    @custom_bwd(device_type='cpu')
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        found: list[Tensor | None] = [None, None, None, None]
        if of_x:
            turned = weight.flip(2, 3, 4)
            left = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
            dx = F.conv3d(grad, turned.to(grad.dtype), padding=left, groups=x.shape[1])
            found[0] = dx.contiguous() if x.is_contiguous() else dx
        wide = grad.float().permute(0, 2, 3, 4, 1)
        if of_weight:
            t, h, w = ctx.padding
            padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, w, w, h, h, t, t))
            T, H, W = wide.shape[1:4]
            shifted = (
                padded[:, t : t + T, h : h + H, w : w + W]
                for t, h, w in itertools.product(*map(range, weight.shape[2:]))
            )
            sums = [(cut * wide).sum((0, 1, 2, 3)) for cut in shifted]
            found[1] = torch.stack(sums, -1).view(weight.shape)
        if of_bias:
            found[2] = wide.sum((0, 1, 2, 3))
        return tuple(found)


class DepthwiseConv3d(nn.Conv3d):
    """A layer that computes with `depthwise_conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W')."""
        padding: Any = self.padding
        return depthwise_conv3d(x, self.weight, self.bias, padding)


def use_fast_depthwise(model: nn.Module) -> None:
    """Make the depthwise 3-D convolutions of a model `DepthwiseConv3d`, in place.

    Those with strides stay: their gradients are PyTorch's. Weights, hooks and names stay what they
    are.
    """
    for module in model.modules():
        if type(module) is nn.Conv3d and _is_taken(module):
            module.__class__ = DepthwiseConv3d


def _is_taken(conv: nn.Conv3d) -> bool:
    return (
        1 < conv.groups == conv.in_channels == conv.out_channels
        and set(conv.stride) == set(conv.dilation) == {1}
        and conv.padding_mode == 'zeros'
        and not isinstance(conv.padding, str)
        and all(p < k for p, k in zip(conv.padding, conv.kernel_size, strict=True))
    )
