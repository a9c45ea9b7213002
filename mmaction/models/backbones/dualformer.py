"""DualFormer: local-window attention and global-pyramid attention in turn.

Liang, Zhou, Zimmermann, Yan: "DualFormer: Local-Global Stratified Transformer
for Efficient Video Recognition", arXiv:2112.04674.

Shapes in the comments: B clips, (T, H, W) the token grid of a stage, C channels,
L tokens in all or of one window, M tokens of the pyramid, h heads, d channels of
a head. Tokens are channels-last, (B, T, H, W, C), from the first patch embedding
to the last norm. Sizes and kernels are always (time, height, width).

Beside this file: `dualformer_geometry.py` (settings and sizes), `dualformer_layout.py` (windows and
cells of a grid) and `dualformer_weights.py` (pretrained weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, initialize
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS

from .dualformer_geometry import (
    KEEP_TIME,
    STAGE_DEFAULTS,
    Size3,
    StageGeometry,
    patch_kernels,
    plan_geometry,
    resolve_arch,
    triple,
)
from .dualformer_layout import (
    DepthwisePool,
    cells,
    depthwise_3x3x3,
    depthwise_3x3x3_with_fast_gradients,
    grid_of,
    map_windows,
    pad_to_multiple,
    patch_linear,
    window_merge,
    window_partition,
)
from .dualformer_weights import bare_state_dict, inflate, load_pretrained

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
            y = depthwise_3x3x3_with_fast_gradients(x, conv.weight, conv.bias)
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
        spec = resolve_arch(arch, given, ARCHITECTURES)
        dims, depths = spec['embed_dims'], spec['depths']
        self.geometry = plan_geometry(
            triple(video_size, 'video_size'),
            patch_kernels(triple(patch_size, 'patch_size'), temporal_pooling, len(dims)),
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


# ---------------------------------------------------------------- variants


ARCHITECTURES: dict[str, dict[str, Any]] = {
    'tiny': dict(
        embed_dims=(64, 128, 256, 512),
        num_heads=(2, 4, 8, 16),
        depths=(2, 2, 10, 4),
        **STAGE_DEFAULTS,
    ),
    'small': dict(
        embed_dims=(96, 192, 384, 768),
        num_heads=(3, 6, 12, 24),
        depths=(2, 2, 18, 2),
        **STAGE_DEFAULTS,
    ),
    'base': dict(
        embed_dims=(128, 256, 512, 1024),
        num_heads=(4, 8, 16, 32),
        depths=(2, 2, 18, 2),
        **STAGE_DEFAULTS,
    ),
}
