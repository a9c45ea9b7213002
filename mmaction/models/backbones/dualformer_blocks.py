"""The parts of DualFormer: its two attentions, blocks, patch embedding and position generator.

Shapes in the comments are as in `dualformer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .dualformer_geometry import Size3, StageGeometry
from .dualformer_layout import (
    DepthwisePool,
    depthwise_3x3x3,
    map_windows,
    patch_linear,
)

__all__ = [
    'Attention',
    'Block',
    'DropPath',
    'GlobalPyramidAttention',
    'LocalWindowAttention',
    'Mlp',
    'PatchEmbed',
    'PositionGenerator',
    'StageSettings',
    'batch_norms',
    'frozen_batch_statistics',
]

# The operations of GPUs. Without them, as where these files are copied into mmaction2, PyTorch's
# own operators give the same.
add_position: Callable[..., Tensor] | None
attention: Callable[..., Tensor] = F.scaled_dot_product_attention
try:
    from mmaction.models.utils.attention_ops import attention
    from mmaction.models.utils.position_ops import add_position
except ImportError:
    add_position = None


# ---------------------------------------------------------------- attention


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

    def __init__(
        self, dim: int, hidden: int, drop: float = 0.0, out_dim: int | None = None
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim if out_dim is None else out_dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., out_dim), which is C by default."""
        y: Tensor = self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
        return y


class DropPath(nn.Module):
    """Stochastic depth: in training, a residual branch is left out of some samples of a batch.

    Huang et al., "Deep Networks with Stochastic Depth", arXiv:1603.09382. It draws what timm's
    layer of this name draws, whose import takes half a second.

    Args:
        drop_prob: Share of the samples that go without; the others are scaled up for it.
    """

    keep: Tensor

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.register_buffer('keep', torch.empty(()), persistent=False)
        self.drop_prob = drop_prob

    @property
    def drop_prob(self) -> float:
        """Share of the samples that go without."""
        return self._drop_prob

    @drop_prob.setter
    def drop_prob(self, value: float) -> None:
        self._drop_prob = value
        self._drops = value > 0
        self.keep.fill_(1 - value)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same."""
        if not (self._drops and self.training):
            return x
        shape = (len(x),) + (1,) * (x.ndim - 1)
        if torch.compiler.is_compiling():
            # From a tensor: a number would be a constant, and each block a graph of its own.
            mask = torch.rand(shape, device=x.device) < self.keep
            return x * (mask / self.keep.clamp(min=1e-6)).to(x.dtype)
        keep = 1 - self._drop_prob
        mask = x.new_empty(shape).bernoulli_(keep)
        return x * mask.div_(keep) if keep else x * mask


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
        x = x + self.drop_path(self.attn(self.norm1(x)))
        if self.recompute_mlp and self.training and torch.is_grad_enabled():
            mlp = checkpoint(self._normed_mlp, x, use_reentrant=False)
        else:
            mlp = self._normed_mlp(x)
        y: Tensor = x + self.drop_path(mlp)
        return y

    def _normed_mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.mlp(self.norm2(x))
        return y


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers within a module, of any number of dimensions."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics as they are.

    A checkpointed block runs forward twice; its statistics must move once.
    """
    norms = batch_norms(module)
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
        return x + depthwise_3x3x3(x, conv.weight, conv.bias)
