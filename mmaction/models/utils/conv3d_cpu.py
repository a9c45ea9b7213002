"""Dense 3-D convolutions in fp32 on CPUs, by way of 2-D ones and products.

PyTorch hands a 3-D convolution to oneDNN only where several clips come at once, a clip is large, or
the kernel spans more than three rows and columns, and with one thread none of one row and column.
The others it unfolds, which is up to five times as slow (docs/performance.md). Over tokens whose
channels lie side by side, a kernel of 1x1x1 is a linear layer, and one that spans either time or
space a 2-D convolution, without a copy. So all that follows such a layer has its channels last,
too, which PyTorch's max pooling takes a tenth of the time for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu import is_exporting
from .linear_cpu import linear

__all__ = ['Conv3d', 'conv3d']

Size3 = tuple[int, int, int]

_HAS_ONEDNN = torch.backends.mkldnn.is_available()

_LARGE = 20480
"""Channels times frames times rows of a clip above which PyTorch takes oneDNN."""


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3 = (1, 1, 1),
    padding: Size3 = (0, 0, 0),
) -> Tensor:
    """`torch.nn.functional.conv3d`, faster on CPUs.

    Args:
        x: (B, in, T, H, W).
        weight: (out, in, kt, kh, kw).
        bias: (out,).
        stride: Steps along T, H and W.
        padding: Zeros at both ends of T, H and W.

    Returns:
        (B, out, T', H', W'). Where it is faster, that is a view with the channels last in memory.
    """
    if not _takes(x, weight, bias, stride, padding):
        return F.conv3d(x, weight, bias, stride, padding)
    rows = x.movedim(1, -1).contiguous()  # (B, T, H, W, C)
    kernel = weight.shape[2:]
    # What a kernel of length 1 steps over is not looked at.
    steps = [s if k == 1 and not p else 1 for s, k, p in zip(stride, kernel, padding, strict=True)]
    if max(steps) > 1:
        t, h, w = steps
        rows = rows[:, ::t, ::h, ::w].contiguous()
    stride = tuple(s // step for s, step in zip(stride, steps, strict=True))  # type: ignore[assignment]
    if max(*kernel, *stride) == 1 and not any(padding):
        y = linear(rows, weight.flatten(1), bias)
    elif max(kernel[1:]) == max(stride[1:]) == 1 and not any(padding[1:]):
        y = _over_time(rows, weight[..., 0], bias, stride[0], padding[0])
    elif min(kernel[1:]) <= 3 and kernel[0] == stride[0] == 1 and not padding[0]:
        y = _over_space(rows, weight[:, :, 0], bias, stride, padding)
    elif min(kernel[1:]) <= 3 and len(x) <= 1 and x[..., :1].numel() <= _LARGE:
        y = _by_frames(rows, weight, bias, stride, padding)
    else:
        return F.conv3d(rows.movedim(-1, 1), weight, bias, stride, padding)
    return y.movedim(-1, 1)


def _over_space(
    rows: Tensor, weight: Tensor, bias: Tensor | None, stride: Size3, padding: Size3
) -> Tensor:
    """(B, T, H, W, in) -> (B, T, H', W', out), by a kernel (out, in, kh, kw)."""
    y = _conv2d(rows.flatten(0, 1), weight, bias, stride[1:], padding[1:])
    return y.view(*rows.shape[:2], *y.shape[1:])


def _over_time(
    rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> Tensor:
    """(B, T, H, W, in) -> (B, T', H, W, out), by a kernel (out, in, kt, 1)."""
    y = _conv2d(rows.flatten(2, 3), weight, bias, (stride, 1), (padding, 0))
    return y.view(*y.shape[:2], *rows.shape[2:4], len(weight))


def _by_frames(
    rows: Tensor, weight: Tensor, bias: Tensor | None, stride: Size3, padding: Size3
) -> Tensor:
    """(B, T, H, W, in) -> (B, T', H', W', out), of the frames that a kernel sees at once."""
    rows = F.pad(rows, (0, 0, 0, 0, 0, 0, padding[0], padding[0]))
    last = rows.shape[1] - weight.shape[2]
    seen = [rows[:, t : last + t + 1 : stride[0]] for t in range(weight.shape[2])]
    spread = weight.transpose(1, 2).flatten(1, 2)  # (out, kt in, kh, kw)
    return _over_space(torch.cat(seen, -1), spread, bias, stride, padding)


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Tensor:
    """(B, H, W, in) -> (B, H', W', out)."""
    # A single row or column can be dilated at will. With one thread, PyTorch takes oneDNN for it
    # only then.
    dilation = tuple(2 if k == 1 else 1 for k in weight.shape[2:])
    return F.conv2d(x.movedim(-1, 1), weight, bias, stride, padding, dilation).movedim(1, -1)


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size3, padding: Size3) -> bool:
    return (
        x.device.type == 'cpu'
        # The compiler cannot tell the strides of the gradients of clips of any size.
        and not torch.compiler.is_compiling()
        and not is_exporting()
        and x.layout == weight.layout == torch.strided
        and x.dim() == weight.dim() == 5
        and x.shape[1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and min(stride) > 0
        # Of a clip that is too small, PyTorch says so.
        and all(
            k <= n + 2 * p for n, k, p in zip(x.shape[2:], weight.shape[2:], padding, strict=True)
        )
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and _HAS_ONEDNN
        and bool(torch.backends.mkldnn.enabled)
    )


class Conv3d(nn.Conv3d):
    """A layer that computes with `conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, T, H, W) -> (B, out, T', H', W')."""
        stride: Any = self.stride
        padding: Any = self.padding
        return conv3d(x, self.weight, self.bias, stride, padding)
