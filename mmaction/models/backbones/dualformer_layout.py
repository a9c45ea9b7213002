"""DualFormer's layout: windows and cells of token grids, and convolutions as products over them.

Pure functions on channels-last tokens (B, T, H, W, C); the letters are explained in
`dualformer.py`. A convolution whose kernel equals its stride never slides: it is a reshape and a
product, which no library does as fast for tokens in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .dualformer_geometry import Size3

__all__ = [
    'DepthwisePool',
    'cells',
    'depthwise_3x3x3',
    'grid_of',
    'map_windows',
    'pad_to_multiple',
    'patch_linear',
    'window_merge',
    'window_partition',
]

depthwise_conv3d: Callable[..., Tensor]
linear: Callable[..., Tensor]
try:
    from mmaction.models.utils.depthwise_cpu import depthwise_conv3d
    from mmaction.models.utils.linear_cpu import linear
except ImportError:  # where these files are copied into mmaction2
    linear = F.linear

    def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size3) -> Tensor:
        """PyTorch's convolution."""
        return F.conv3d(x, weight, bias, padding=padding, groups=x.shape[1])


def grid_of(x: Tensor) -> Size3:
    """(T, H, W) of (B, T, H, W, C)."""
    _, T, H, W, _ = x.shape
    return T, H, W


def pad_to_multiple(x: Tensor, kernel: Size3) -> Tensor:
    """Zero-pad the grid of (B, T, H, W, C) at its ends to multiples of `kernel`."""
    t, h, w = (-n % k for n, k in zip(grid_of(x), kernel, strict=True))
    return F.pad(x, (0, 0, 0, w, 0, h, 0, t)) if t or h or w else x


def window_partition(x: Tensor, window: Size3) -> Tensor:
    """(B, T, H, W, C) -> (B * windows, L, C); the grid must be a multiple of the window."""
    t, h, w = window
    return rearrange(x, 'B (T t) (H h) (W w) C -> (B T H W) (t h w) C', t=t, h=h, w=w)


def window_merge(x: Tensor, window: Size3, grid: Size3) -> Tensor:
    """(B * windows, L, C) -> (B, *grid, C); the inverse of `window_partition`."""
    (T, H, W), (t, h, w) = grid, window
    sizes = dict(T=T // t, H=H // h, W=W // w, t=t, h=h, w=w)
    return rearrange(x, '(B T H W) (t h w) C -> B (T t) (H h) (W w) C', **sizes)


def map_windows(function: Callable[[Tensor], Tensor], x: Tensor, window: Size3) -> Tensor:
    """Apply `function` to the windows of a grid; those at its ends may be smaller.

    The grid is cut where whole windows end, so that every part has windows of one size and there
    is no padding that would have to be masked.

    Args:
        function: Maps windows (N, L, C) to the same shape.
        x: Tokens (B, T, H, W, C).
        window: (t, h, w).

    Returns:
        (B, T, H, W, C).
    """
    for axis, (n, w) in enumerate(zip(grid_of(x), window, strict=True), start=1):
        if n > w and n % w:
            parts = x.split((n - n % w, n % w), axis)
            return torch.cat([map_windows(function, part, window) for part in parts], axis)
    t, h, w = (min(pair) for pair in zip(window, grid_of(x), strict=True))
    return window_merge(function(window_partition(x, (t, h, w))), (t, h, w), grid_of(x))


def cells(x: Tensor, kernel: Sequence[int]) -> Tensor:
    """(B, T, H, W, C) -> (B, T/kt, H/kh, W/kw, kt * kh * kw, C): what each kernel position sees.

    The grid is padded at its ends to multiples of the kernel.
    """
    t, h, w = kernel
    x = pad_to_multiple(x, (t, h, w))
    return rearrange(x, 'B (T t) (H h) (W w) C -> B T H W (t h w) C', t=t, h=h, w=w)


def patch_linear(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A convolution whose kernel equals its stride, as one matrix product.

    (B, T, H, W, C) -> (B, T/kt, H/kh, W/kw, out channels).
    """
    weight = conv.weight.permute(0, 2, 3, 4, 1).flatten(1)
    return linear(cells(x, conv.kernel_size).flatten(4), weight, conv.bias)


def _pool_copied(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of the cells of x; on a CPU the copy makes the sum cheaper than it costs."""
    taps = weight.flatten(1).t()  # (C, 1, kt, kh, kw) -> (kt * kh * kw, C)
    return (cells(x, weight.shape[2:]) * taps).sum(4)


def _pool_in_place(x: Tensor, weight: Tensor) -> Tensor:
    """The same from a view of x: no copy to make, and none to keep for the backward pass."""
    t, h, w = weight.shape[2:]
    x = pad_to_multiple(x, (t, h, w))
    x = x.unflatten(3, (-1, w)).unflatten(2, (-1, h)).unflatten(1, (-1, t))
    taps = weight.squeeze(1).permute(1, 2, 3, 0)[:, None, :, None]  # (kt, 1, kh, 1, kw, C)
    return (x * taps).sum((2, 4, 6))


class DepthwisePool(nn.Conv3d):
    """A depthwise convolution whose kernel equals its stride, as a weighted sum of each cell.

    A cell at the border sums the real tokens that it has.
    """

    kernel_follows_video_size = True
    """Weights of a model of another `video_size` may not fit: then they start anew."""

    def __init__(self, dim: int, kernel: Size3) -> None:
        super().__init__(dim, dim, kernel, stride=kernel, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T/kt, H/kh, W/kw, C)."""
        assert self.bias is not None
        pooled = _pool_copied if x.device.type == 'cpu' else _pool_in_place
        return pooled(x, self.weight) + self.bias


def depthwise_3x3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, T, H, W, C) -> the same; the kernel (C, 1, 3, 3, 3) sees zeros beyond the grid."""
    x = x.permute(0, 4, 1, 2, 3)  # a channels-last view, nothing is copied
    return depthwise_conv3d(x, weight, bias, (1, 1, 1)).permute(0, 2, 3, 4, 1)
