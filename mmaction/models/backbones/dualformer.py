"""DualFormer: local-window attention and global-pyramid attention in turn.

Liang, Zhou, Zimmermann, Yan: "DualFormer: Local-Global Stratified Transformer
for Efficient Video Recognition", arXiv:2112.04674.

Shapes in the comments: B clips, (T, H, W) the token grid of a stage, C channels,
L tokens in all or of one window, M tokens of the pyramid, h heads, d channels of
a head. Tokens are channels-last, (B, T, H, W, C), from the first patch embedding
to the last norm. Sizes and kernels are always (time, height, width).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from mmengine.logging import print_log
from mmengine.model import BaseModule, initialize
from mmengine.runner.checkpoint import CheckpointLoader
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS

__all__ = [
    'Attention',
    'Block',
    'DepthwisePool',
    'DualFormer',
    'GlobalPyramidAttention',
    'LocalWindowAttention',
    'Mlp',
    'PatchEmbed',
    'PositionGenerator',
    'StageGeometry',
    'StageSettings',
    'bare_state_dict',
    'cells',
    'depthwise_3x3x3',
    'grid_of',
    'inflate',
    'load_pretrained',
    'map_windows',
    'pad_to_multiple',
    'patch_linear',
    'plan_geometry',
    'window_merge',
    'window_partition',
]

# The operations of GPUs. Without them, as in a checkout that has this file alone, PyTorch's own
# operators give the same.
add_position: Callable[..., Tensor] | None
attention: Callable[..., Tensor] = F.scaled_dot_product_attention
try:
    from mmaction.models.utils.attention_ops import attention
    from mmaction.models.utils.position_ops import add_position
except ImportError:
    add_position = None

Size3 = tuple[int, int, int]

KEEP_TIME = (-1, 1, 1, 1)
"""The published `temporal_pooling`: after the first patch embedding time keeps its length."""
COARSE_STAGES = 2
"""As published, only so many stages, the first ones, may have a coarse pyramid level."""


# ---------------------------------------------------------------- layout


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
    return F.linear(cells(x, conv.kernel_size).flatten(4), weight, conv.bias)


# ---------------------------------------------------------------- geometry


@dataclass(frozen=True)
class StageGeometry:
    """Every size that one stage works with.

    Attributes:
        patch: Kernel (= stride) of the patch embedding.
        grid: Tokens of a clip of the model's `video_size`.
        window: Window of the local attention.
        fine: Pooling kernel of the fine pyramid level; None where keys and
            values are the tokens themselves.
        coarse: The two pooling kernels, one after the other, of the coarse
            pyramid level; None where the stage has no such level.
    """

    patch: Size3
    grid: Size3
    window: Size3
    fine: Size3 | None
    coarse: tuple[Size3, Size3] | None


def plan_geometry(
    video_size: Size3,
    patch_sizes: Sequence[Size3],
    windows: Sequence[Size3],
    fine_grids: Sequence[Size3],
    coarse_grids: Sequence[Size3 | None],
) -> tuple[StageGeometry, ...]:
    """Work out each stage's grid and kernels from the pooled grids that it wants.

    Raises:
        ValueError: A pooled grid does not divide its stage's grid.
    """
    stages = []
    grid = video_size
    for i, patch in enumerate(patch_sizes):
        grid = _ceil_div(grid, patch)
        fine = _kernel_of(grid, fine_grids[i], f'fine_pysizes[{i}]', video_size)
        if fine == (1, 1, 1):
            # As published: a stage whose keys are its own tokens has no pyramid at all.
            stages.append(StageGeometry(patch, grid, windows[i], None, None))
            continue
        coarse, pooled = None, coarse_grids[i]
        if pooled is not None:
            kernel = _kernel_of(grid, pooled, f'coarse_pysizes[{i}]', video_size)
            coarse = _split_coarse(kernel, windows[i], i)
        stages.append(StageGeometry(patch, grid, windows[i], fine, coarse))
    return tuple(stages)


def _patch_kernels(patch_size: Size3, temporal_pooling: Sequence[int], stages: int) -> list[Size3]:
    """Kernel (= stride) of each stage's patch embedding; the later ones halve height and width.

    Raises:
        ValueError: `temporal_pooling` is no list of one temporal rate per stage.
    """
    rates: Any = temporal_pooling
    whole = isinstance(rates, Sequence) and all(type(rate) is int for rate in rates)
    if whole and tuple(rates) == KEEP_TIME:
        rates = (1,) * stages
    if not whole or len(rates) != stages or any(rate < 1 for rate in rates[1:]):
        raise ValueError(
            f'temporal_pooling={temporal_pooling!r} is no list of temporal rates: it takes one '
            f'integer for each of the {stages} stages, [-1, 1, 1, 1] in the published models. The '
            f'first is replaced by patch_size[0]={patch_size[0]}; of the others 1 keeps time and 2 '
            'halves it'
        )
    return [patch_size, *((rate, 2, 2) for rate in rates[1:])]


def _ceil_div(size: Size3, by: Size3) -> Size3:
    t, h, w = (-(-s // b) for s, b in zip(size, by, strict=True))
    return t, h, w


def _kernel_of(grid: Size3, pooled: Size3, name: str, video_size: Size3) -> Size3:
    """The kernel that pools `grid` to `pooled`; 1 along an axis that is no longer than it."""
    for axis, n, p in zip(('time', 'height', 'width'), grid, pooled, strict=True):
        if n > p and n % p:
            raise ValueError(
                f'{name}={pooled}: {p} does not divide the {n} tokens along {axis} that this '
                f'stage has (grid {grid} at video_size={video_size}). video_size only fixes the '
                'pooling kernels: clips of other sizes run on any model, so keep the size of '
                'the pretrained one, or choose a pooled grid that divides.'
            )
    t, h, w = (max(n // p, 1) for n, p in zip(grid, pooled, strict=True))
    return t, h, w


def _split_coarse(kernel: Size3, window: Size3, stage: int) -> tuple[Size3, Size3]:
    """Split the coarse kernel in a step over one window's area and a step over the rest."""
    first = (1, window[1], window[2])
    if any(k % f for k, f in zip(kernel, first, strict=True)):
        raise ValueError(
            f'coarse_pysizes[{stage}] gives the pooling kernel {kernel}, which must be a multiple '
            f'of the height and width of the window local_sizes[{stage}]={window}.'
        )
    return first, (kernel[0], kernel[1] // first[1], kernel[2] // first[2])


def _triple(value: Any, name: str) -> Size3:
    """Three positive integers, or a `ValueError` that names the argument."""
    sizes = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(sizes) != 3 or any(type(s) is not int or s < 1 for s in sizes):
        raise ValueError(f'{name} must be three positive integers (time, height, width): {value!r}')
    return sizes


# ---------------------------------------------------------------- attention


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


@dataclass(frozen=True)
class StageSettings:
    """What all blocks of a stage have in common; `DualFormer` describes each field."""

    dim: int
    num_heads: int
    geometry: StageGeometry
    mlp_ratio: float
    norm_layer: Callable[[int], nn.Module]
    qkv_bias: bool
    qk_scale: float | None
    drop_rate: float
    attn_drop_rate: float
    recompute_mlp: bool


class Attention(nn.Module):
    """What both attentions share: heads, scale, dropout and output projection."""

    proj: nn.Linear

    def __init__(self, stage: StageSettings) -> None:
        super().__init__()
        self.num_heads = stage.num_heads
        self.scale = stage.qk_scale
        self.attn_drop = stage.attn_drop_rate
        self.proj_drop = nn.Dropout(stage.drop_rate)

    def split_heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, L, parts * C) -> `parts` tensors (B, h, L, d), views of it."""
        x = x.unflatten(-1, (parts, self.num_heads, -1))  # (B, L, parts, h, d)
        return x.permute(2, 0, 3, 1, 4).unbind(0)  # parts x (B, h, L, d)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention: q (B, h, L, d), k and v (B, h, M, d) -> (B, L, C)."""
        dropout = self.attn_drop if self.training else 0.0
        x = attention(q, k, v, dropout_p=dropout, scale=self.scale)
        x = x.transpose(1, 2).flatten(2)  # (B, h, L, d) -> (B, L, C)
        y: Tensor = self.proj_drop(self.proj(x))
        return y


class LocalWindowAttention(Attention):
    """LW-MSA: self-attention inside non-overlapping windows over space and time."""

    def __init__(self, stage: StageSettings) -> None:
        super().__init__(stage)
        self.window = stage.geometry.window
        self.qkv = nn.Linear(stage.dim, stage.dim * 3, bias=stage.qkv_bias)
        self.proj = nn.Linear(stage.dim, stage.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        return map_windows(self._attend_within, x, self.window)

    def _attend_within(self, x: Tensor) -> Tensor:
        """Windows (N, L, C) -> the same."""
        q, k, v = self.split_heads(self.qkv(x), 3)  # each (N, h, L, d)
        return self.attend(q, k, v)


class GlobalPyramidAttention(Attention):
    """GP-MSA: every token attends to a pyramid of the whole clip.

    The pyramid is a fine pooled grid (`sr`) and, in the early stages, a coarse one
    (`lr`) behind it, normed together. Where the geometry has no fine level, it is the tokens
    themselves, and `sr`, `lr` and `norm` are None.
    """

    def __init__(self, stage: StageSettings) -> None:
        super().__init__(stage)
        dim, fine, coarse = stage.dim, stage.geometry.fine, stage.geometry.coarse
        self.q = nn.Linear(dim, dim, bias=stage.qkv_bias)
        self.kv = nn.Linear(dim, dim * 2, bias=stage.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.sr = DepthwisePool(dim, fine) if fine else None
        self.norm = nn.LayerNorm(dim) if fine else None
        self.lr = (
            nn.Sequential(
                DepthwisePool(dim, coarse[0]),
                nn.BatchNorm3d(dim),
                nn.ReLU(),
                DepthwisePool(dim, coarse[1]),
            )
            if coarse
            else None
        )

    def pyramid(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, M, C): the fine tokens, then the coarse ones."""
        if self.sr is None or self.norm is None:
            return x.flatten(1, 3)
        levels = [self.sr(x).flatten(1, 3)]  # (B, fine tokens, C)
        if self.lr is not None:
            first, batch_norm, relu, second = self.lr
            coarse = first(x).permute(0, 4, 1, 2, 3)  # BatchNorm3d wants (B, C, T, H, W)
            coarse = batch_norm(coarse).permute(0, 2, 3, 4, 1)  # (B, T, H, W, C)
            levels.append(second(relu(coarse)).flatten(1, 3))  # (B, coarse tokens, C)
        y: Tensor = self.norm(torch.cat(levels, 1))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        (q,) = self.split_heads(self.q(x.flatten(1, 3)), 1)  # (B, h, L, d)
        k, v = self.split_heads(self.kv(self.pyramid(x)), 2)  # (B, h, M, d)
        return self.attend(q, k, v).view(x.shape)  # (B, L, C) -> (B, T, H, W, C)


# ---------------------------------------------------------------- blocks


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same."""
        y: Tensor = self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
        return y


class Block(nn.Module):
    """Pre-norm transformer block around one of the two attentions.

    With `recompute_mlp` the hidden tokens of the MLP, the widest that there are, are computed
    again in the backward pass instead of being kept for it.

    Args:
        stage: The settings of its stage.
        local: Whether it attends within windows, not to the pyramid.
        drop_path: Its stochastic depth.
    """

    def __init__(self, stage: StageSettings, local: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        self.recompute_mlp = stage.recompute_mlp
        self.attn = LocalWindowAttention(stage) if local else GlobalPyramidAttention(stage)
        self.norm1 = stage.norm_layer(stage.dim)
        self.norm2 = stage.norm_layer(stage.dim)
        self.mlp = Mlp(stage.dim, int(stage.dim * stage.mlp_ratio), stage.drop_rate)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        # The sum keeps the dtype of the residual stream, whatever the branch has under autocast.
        x = (x + self.drop_path(self.attn(self.norm1(x)))).to(x.dtype)
        if self.recompute_mlp and self.training and torch.is_grad_enabled():
            mlp = checkpoint(self._normed_mlp, x, use_reentrant=False)
        else:
            mlp = self._normed_mlp(x)
        y: Tensor = (x + self.drop_path(mlp)).to(x.dtype)
        return y

    def _normed_mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.mlp(self.norm2(x))
        return y


def _batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def _frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics as they are.

    A checkpointed block runs forward twice; its statistics must move once.
    """
    norms = _batch_norms(module)
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked -= 1
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


# ---------------------------------------------------------------- stage: embedding and position


class PatchEmbed(nn.Module):
    """Tokens from patches: linear projection, then LayerNorm.

    (B, T, H, W, in) -> (B, T/kt, H/kh, W/kw, out); a grid that the kernel does not
    divide is padded at its ends.
    """

    def __init__(self, in_chans: int, embed_dim: int, kernel: Size3) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel, stride=kernel)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a clip or the tokens of the stage before."""
        y: Tensor = self.norm(patch_linear(x, self.proj))
        return y


class _Depthwise3x3x3(torch.autograd.Function):
    """Depthwise 3x3x3 convolution of (B, T, H, W, C) whose gradients are fast on a CPU.

    PyTorch's own gradients of such a convolution take thirty times as long as its forward
    pass. The input's is a convolution itself, with the kernel turned round; the kernel's
    is, for each of the 27 positions, the product of gradient and shifted input.
    """

    @staticmethod
    @custom_fwd(device_type='cpu')
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return depthwise_3x3x3(x, weight, bias)

    @staticmethod
    @custom_bwd(device_type='cpu')
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        T, H, W = grid_of(x)
        padded = F.pad(x, (0, 0, 1, 1, 1, 1, 1, 1))
        shifted = (
            padded[:, t : t + T, h : h + H, w : w + W]
            for t, h, w in itertools.product(range(3), repeat=3)
        )
        wide = grad.float()
        grad_weight = torch.stack([(cut * wide).sum((0, 1, 2, 3)) for cut in shifted], -1)
        grad_x = depthwise_3x3x3(grad, weight.flip(2, 3, 4), None)
        return grad_x, grad_weight.view(weight.shape), wide.sum((0, 1, 2, 3))


def depthwise_3x3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, T, H, W, C) -> the same; the kernel (C, 1, 3, 3, 3) sees zeros beyond the grid."""
    x = x.permute(0, 4, 1, 2, 3)  # a channels-last view, nothing is copied
    return F.conv3d(x, weight, bias, padding=1, groups=x.shape[1]).permute(0, 2, 3, 4, 1)


class PositionGenerator(nn.Module):
    """Conditional position encoding: x + depthwise 3x3x3 convolution of x.

    Source: arXiv:2102.10882, over space and time.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv3d(dim, dim, 3, padding=1, groups=dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        conv = self.proj[0]
        assert isinstance(conv, nn.Conv3d)
        if x.device.type != 'cpu' and add_position is not None:
            return add_position(x, conv.weight, conv.bias)
        if self.training and x.device.type == 'cpu':
            y = _Depthwise3x3x3.apply(x, conv.weight, conv.bias)
        else:
            y = depthwise_3x3x3(x, conv.weight, conv.bias)
        out: Tensor = (x + y).to(x.dtype)
        return out


# ---------------------------------------------------------------- model


@MODELS.register_module()
class DualFormer(BaseModule):
    """DualFormer backbone.

    Any clip of at least one patch runs, whatever `video_size` the model was built
    for: grids are padded to whole windows and cells, and padding is never attended to.

    Args:
        arch: 'tiny', 'small', 'base', or a dict with `embed_dims`, `num_heads` and
            `depths` (and any of `mlp_ratios`, `local_sizes`, `fine_pysizes`,
            `coarse_pysizes`). Arguments of these names, where given, come first.
        pretrained: Checkpoint that `init_weights` loads: a path or URL of 3-D
            weights, or of 2-D ones, which are inflated.
        pretrained2d: Whether `pretrained` is 2-D; found out from its shapes if None.
        video_size: Clip (T, H, W) that fixes the pooling kernels.
        patch_size: Patch of the first stage. The later ones halve height and width.
        in_chans: Channels of a clip.
        num_classes: Accepted as in the published configs and not used: a backbone
            has no classes.
        embed_dims: Channels per stage.
        num_heads: Attention heads per stage.
        mlp_ratios: Hidden size of the MLP over its input's, per stage.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor on the attention logits; d ** -0.5 if None.
        drop_rate: Dropout of tokens, projections and MLPs.
        attn_drop_rate: Dropout of attention weights.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0.
        norm_layer: Makes a norm of given channels; `nn.LayerNorm` if None.
        depths: Blocks per stage. Even ones attend within windows, odd ones to the pyramid.
        local_sizes: Window of the local attention, per stage.
        fine_pysizes: Pooled grid of the fine pyramid level at `video_size`, per stage.
        coarse_pysizes: Likewise of the coarse level; None where a stage has none. The entries of
            the third stage and later ones are ignored, as published: they never have one.
        temporal_pooling: Temporal kernel (= stride) of each stage's patch embedding. The first
            entry is replaced by `patch_size[0]`; of the others 1 keeps time, 2 halves it. The
            default keeps time, in any number of stages.
        use_checkpoint: What is computed again in the backward pass instead of being kept,
            with the same gradients: False nothing, 'selective' the hidden tokens of the
            MLPs (about two thirds of the memory), True whole blocks (the least memory and
            the most time).
        bf16_residual: Whether, under bf16 autocast, the tokens between blocks are bf16 too, which
            halves what the residual stream moves and keeps. Norms and softmax still compute in
            fp32. Without bf16 autocast it changes nothing, nor on a CPU, where autocast norms
            give bf16 anyway.
        frozen_stages: How many stages keep their weights and run as in evaluation (no
            dropout, BatchNorm's stored statistics). 0 freezes the first patch embedding
            alone, -1 nothing; the last norm always learns.
        init_cfg: Other first weights, as in mmengine.

    Raises:
        ValueError: An argument does not fit; the message names it.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'tiny',
        pretrained: str | None = None,
        pretrained2d: bool | None = None,
        video_size: Sequence[int] = (32, 224, 224),
        patch_size: Sequence[int] = (2, 4, 4),
        in_chans: int = 3,
        num_classes: int | None = None,
        embed_dims: Sequence[int] | None = None,
        num_heads: Sequence[int] | None = None,
        mlp_ratios: Sequence[float] | None = None,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] | None = None,
        depths: Sequence[int] | None = None,
        local_sizes: Sequence[Sequence[int]] | None = None,
        fine_pysizes: Sequence[Sequence[int]] | None = None,
        coarse_pysizes: Sequence[Sequence[int] | None] | None = None,
        temporal_pooling: Sequence[int] = KEEP_TIME,
        use_checkpoint: bool | str = False,
        frozen_stages: int = -1,
        init_cfg: dict[str, Any] | None = None,
        bf16_residual: bool = False,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        given = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            depths=depths,
            mlp_ratios=mlp_ratios,
            local_sizes=local_sizes,
            fine_pysizes=fine_pysizes,
            coarse_pysizes=coarse_pysizes,
        )
        spec = _resolve_arch(arch, given)
        dims, depths = spec['embed_dims'], spec['depths']
        self.geometry = plan_geometry(
            _triple(video_size, 'video_size'),
            _patch_kernels(_triple(patch_size, 'patch_size'), temporal_pooling, len(dims)),
            spec['local_sizes'],
            spec['fine_pysizes'],
            spec['coarse_pysizes'],
        )
        self.pretrained = pretrained
        self.pretrained2d = pretrained2d
        self.in_chans = in_chans
        if use_checkpoint not in (False, True, 'selective'):
            raise ValueError(
                f"use_checkpoint={use_checkpoint!r} is none of False, 'selective' and True."
            )
        self.use_checkpoint = use_checkpoint
        self.bf16_residual = bf16_residual
        if not -1 <= frozen_stages <= len(dims):
            raise ValueError(
                f'frozen_stages={frozen_stages} is not from -1 (nothing is frozen) to the '
                f'{len(dims)} stages of this model.'
            )
        self.frozen_stages = frozen_stages
        norm_layer = norm_layer or nn.LayerNorm
        last = max(sum(depths) - 1, 1)
        drop_paths = iter([drop_path_rate * i / last for i in range(sum(depths))])

        # In the published order, which numbers the entries of an optimizer's state.
        self.patch_embeds = nn.ModuleList(
            PatchEmbed(before, dim, geometry.patch)
            for before, dim, geometry in zip(
                (in_chans, *dims[:-1]), dims, self.geometry, strict=True
            )
        )
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks: Any = nn.ModuleList()
        for i, geometry in enumerate(self.geometry):
            stage = StageSettings(
                dim=dims[i],
                num_heads=spec['num_heads'][i],
                geometry=geometry,
                mlp_ratio=spec['mlp_ratios'][i],
                norm_layer=norm_layer,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                recompute_mlp=use_checkpoint == 'selective',
            )
            blocks = [Block(stage, j % 2 == 0, next(drop_paths)) for j in range(depths[i])]
            self.blocks.append(nn.ModuleList(blocks))
        self.norm = norm_layer(dims[-1])
        self.pos_block = nn.ModuleList(PositionGenerator(dim) for dim in dims)
        self.apply(_init_module)
        for module in self._frozen_parts():
            module.requires_grad_(False)

    def _frozen_parts(self) -> list[nn.Module]:
        """The modules that `frozen_stages` keeps as they are."""
        n = self.frozen_stages
        if n < 1:
            return [self.patch_embeds[0]] if n == 0 else []
        return [*self.patch_embeds[:n], *self.blocks[:n], *self.pos_block[:n]]

    def train(self, mode: bool = True) -> DualFormer:
        """Switch to training or evaluation; frozen stages stay in evaluation."""
        super().train(mode)
        for module in self._frozen_parts():
            module.eval()
        return self

    def init_weights(self) -> None:
        """Apply `init_cfg` and load `pretrained`, where given; random weights are set already.

        Raises:
            ValueError: The checkpoint does not fit the model.
        """
        if self.init_cfg:
            initialize(self, self.init_cfg)
        if self.pretrained is not None:
            load_pretrained(self, self.pretrained, self.pretrained2d)

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips.

        Args:
            x: Clips (B, in_chans, T, H, W), normalized.

        Returns:
            The last stage's map (B, C, T', H', W'), with
            T' = T / 2, H' = H / 32, W' = W / 32 (rounded up) in the published sizes.

        Raises:
            ValueError: Wrong number of axes or channels, or a clip smaller than one patch.
        """
        self._check_input(x)
        x = x.permute(0, 2, 3, 4, 1)  # (B, C, T, H, W) -> (B, T, H, W, C)
        for i, (patch_embed, blocks, position) in enumerate(
            zip(self.patch_embeds, self.blocks, self.pos_block, strict=True)
        ):
            x = patch_embed(x)  # (B, *grid of stage i, channels of stage i)
            if self._residual_is_bf16(x):
                x = x.bfloat16()
            if i >= self.frozen_stages:
                x = self.pos_drop(x)
            for j, block in enumerate(blocks):
                x = self._run(block, x)
                if j == 0:
                    x = position(x)
        if self._residual_is_bf16(x):
            x = x.float()
        y: Tensor = self.norm(x).permute(0, 4, 1, 2, 3)  # (B, T, H, W, C) -> (B, C, T, H, W)
        return y

    def _residual_is_bf16(self, x: Tensor) -> bool:
        if not self.bf16_residual or not torch.is_autocast_enabled(x.device.type):
            return False
        return torch.get_autocast_dtype(x.device.type) is torch.bfloat16

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        y: Tensor
        if not (self.use_checkpoint is True and self.training and torch.is_grad_enabled()):
            y = block(x)
            return y
        if torch.compiler.is_compiling():
            # A BatchNorm over several processes is not part of the compiled graph: recomputed,
            # its statistics would move twice.
            synced = any(type(m) is not nn.BatchNorm3d for m in _batch_norms(block))
            y = block(x) if synced else checkpoint(block, x, use_reentrant=False)
            return y
        y = checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _frozen_batch_statistics(block)),
        )
        return y

    def _check_input(self, x: Tensor) -> None:
        patch = self.geometry[0].patch
        if x.ndim != 5 or x.shape[1] != self.in_chans:
            raise ValueError(
                f'DualFormer takes clips of shape (batch, {self.in_chans}, T, H, W), '
                f'not {tuple(x.shape)}.'
            )
        if any(n < p for n, p in zip(x.shape[2:], patch, strict=True)):
            raise ValueError(
                f'A clip of {tuple(x.shape[2:])} (T, H, W) is smaller than one patch {patch}.'
            )


def _resolve_arch(  # noqa: C901 (one branch for each mistake)
    arch: str | Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The per-stage settings: defaults, then `arch`, then the arguments that are given.

    Raises:
        ValueError: An unknown name, or settings of different numbers of stages.
    """
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(f'arch={arch!r} is none of {", ".join(ARCHITECTURES)}, nor a dict.')
        spec = dict(ARCHITECTURES[arch])
    else:
        unknown = sorted(set(arch) - set(given))
        if unknown:
            raise ValueError(f'arch has unknown keys {unknown}; it takes {sorted(given)}.')
        spec = {**_STAGES, **arch}
    spec.update({name: value for name, value in given.items() if value is not None})
    missing = sorted(set(given) - set(spec))
    if missing:
        raise ValueError(f'arch lacks {missing}.')
    stages = len(spec['embed_dims'])
    for name, value in spec.items():
        if len(value) != stages:
            raise ValueError(
                f'{name}={value!r} is for {len(value)} stages, but embed_dims={spec["embed_dims"]} '
                f'has {stages}.'
            )
    for i, (dim, heads) in enumerate(zip(spec['embed_dims'], spec['num_heads'], strict=True)):
        if dim % heads:
            raise ValueError(f'num_heads[{i}]={heads} does not divide embed_dims[{i}]={dim}.')
    if min(spec['depths']) < 1:
        raise ValueError(f'depths={spec["depths"]}: every stage needs at least one block.')
    for name in ('local_sizes', 'fine_pysizes'):
        spec[name] = [_triple(size, f'{name}[{i}]') for i, size in enumerate(spec[name])]
    spec['coarse_pysizes'] = [
        _triple(size, f'coarse_pysizes[{i}]') if size and i < COARSE_STAGES else None
        for i, size in enumerate(spec['coarse_pysizes'])
    ]
    return spec


def _init_module(module: nn.Module) -> None:
    """Truncated normal for linear layers, He (fan out) for convolutions, one and zero for norms."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv3d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    elif isinstance(module, (nn.LayerNorm, nn.BatchNorm3d)):
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


# ---------------------------------------------------------------- pretrained weights


def bare_state_dict(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """The backbone's entries of a checkpoint in any of its usual wrappings.

    Takes them from under `state_dict` or `model` and strips `module.`, `_orig_mod.` (of
    torch.compile, anywhere) and `backbone.` from their names; a classifier's entries are left out.
    """
    for key in ('state_dict', 'model'):
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    state = {
        name.replace('_orig_mod.', '').removeprefix('module.'): value
        for name, value in loaded.items()
    }
    if any(name.startswith('backbone.') for name in state):
        state = {
            name.removeprefix('backbone.'): value
            for name, value in state.items()
            if name.startswith('backbone.')
        }
    return {name: v for name, v in state.items() if not name.startswith(('head.', 'cls_head.'))}


def inflate(state_2d: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """2-D weights as 3-D ones: repeated over the temporal kernel and divided by its length.

    So a clip of one repeated frame gets, from each convolution, what the 2-D model
    gives the frame. `lr` has no counterpart in Twins-SVT: where it is missing, it starts
    as the average of its window. Where `sr` mixes channels, as it does in Twins-SVT, its
    diagonal is taken, which of all depthwise kernels is nearest to it.
    """
    state = dict(state_2d)
    for name, target in model.state_dict().items():
        if '.attn.lr.' in name and name not in state:
            state[name] = _averaging(name, target)
        elif name in state and target.ndim == 5 and state[name].ndim == 4:
            kernel = state[name]
            if name.endswith('attn.sr.weight') and kernel.shape[:2] == (len(target),) * 2:
                kernel = kernel.diagonal().permute(2, 0, 1).unsqueeze(1)
            length = target.shape[2]
            state[name] = kernel.unsqueeze(2).repeat(1, 1, length, 1, 1) / length
    return state


def _averaging(name: str, target: Tensor) -> Tensor:
    """What an entry of `lr` (convolution, BatchNorm, convolution) is to take an average."""
    if target.ndim == 5:
        return torch.full_like(target, 1 / target[0].numel())
    is_scale = name.endswith(('lr.1.weight', 'running_var'))
    return torch.full_like(target, 1 if is_scale else 0)


def load_pretrained(model: DualFormer, filename: str, is_2d: bool | None = None) -> None:
    """Load a 3-D or, inflated, a 2-D checkpoint; all of it or nothing.

    Pooling kernels of a model of another `video_size` are left out and named: as in the
    release they start anew.

    Raises:
        ValueError: Names or shapes differ (all are listed), or the file is not of
            the dimension that `is_2d` says.
    """
    state = bare_state_dict(CheckpointLoader.load_checkpoint(filename, map_location='cpu'))
    first = state.get('patch_embeds.0.proj.weight')
    if first is None:
        raise ValueError(
            f'{filename} is no DualFormer checkpoint: it has no "patch_embeds.0.proj.weight" '
            f'(its first names: {list(state)[:3]}).'
        )
    found_2d = first.ndim == 4
    if is_2d is not None and is_2d != found_2d:
        raise ValueError(
            f'pretrained2d={is_2d}, but {filename} holds {2 if found_2d else 3}-D weights.'
        )
    given = set(state)
    if found_2d:
        state = inflate(state, model)
    own = model.state_dict()
    anew = [
        f'{name}.weight'
        for name, module in model.named_modules()
        if isinstance(module, DepthwisePool)
        and f'{name}.weight' in state
        and state[f'{name}.weight'].shape[2:] != module.weight.shape[2:]
    ]
    state.update({name: own[name] for name in anew})
    problems = [f'missing: {name}' for name in own if name not in state]
    problems += [f'unknown: {name}' for name in state if name not in own]
    problems += [
        f'shape of {name}: {tuple(value.shape)}, the model has {tuple(own[name].shape)}'
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        listed = '\n  '.join(problems)
        raise ValueError(f'{filename} does not fit the model:\n  {listed}')
    model.load_state_dict(state)
    averages = len(set(own) - given)
    how = ' (2-D, inflated over time)' if found_2d else ''
    how += f'; {averages} of the coarse level start as averages' if averages else ''
    loaded = len(given) - len(anew)
    print_log(f'Loaded {loaded} of {len(own)} tensors from {filename}{how}', logger='current')
    if anew:
        print_log(
            f'{filename} is of another video_size: these pooling kernels start anew: '
            f'{", ".join(anew)}',
            logger='current',
            level=logging.WARNING,
        )


# ---------------------------------------------------------------- variants


_STAGES = dict(
    local_sizes=((8, 7, 7),) * 4,
    fine_pysizes=((8, 7, 7), (8, 7, 7), (8, 7, 7), (16, 7, 7)),
    coarse_pysizes=((4, 4, 4), (4, 4, 4), None, None),
    mlp_ratios=(4, 4, 4, 4),
)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    'tiny': dict(
        embed_dims=(64, 128, 256, 512), num_heads=(2, 4, 8, 16), depths=(2, 2, 10, 4), **_STAGES
    ),
    'small': dict(
        embed_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24), depths=(2, 2, 18, 2), **_STAGES
    ),
    'base': dict(
        embed_dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32), depths=(2, 2, 18, 2), **_STAGES
    ),
}
