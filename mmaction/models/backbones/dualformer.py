"""DualFormer: local-window attention and global-pyramid attention in turn.

Liang, Zhou, Zimmermann, Yan: "DualFormer: Local-Global Stratified Transformer
for Efficient Video Recognition", arXiv:2112.04674.

Shapes in the comments: B clips, (T, H, W) the token grid of a stage, C channels,
L tokens in all or of one window, M tokens of the pyramid, h heads, d channels of
a head. Tokens are channels-last, (B, T, H, W, C), from the first patch embedding
to the last norm. Sizes and kernels are always (time, height, width).

Beside this file: `dualformer_blocks.py` (attentions, blocks, embeddings), `dualformer_geometry.py`
(settings and sizes), `dualformer_layout.py` (windows and cells of a grid) and
`dualformer_weights.py` (pretrained weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS

from .dualformer_blocks import (
    Attention,
    Block,
    GlobalPyramidAttention,
    LocalWindowAttention,
    Mlp,
    PatchEmbed,
    PositionGenerator,
    StageSettings,
    batch_norms,
    frozen_batch_statistics,
)
from .dualformer_geometry import (
    KEEP_TIME,
    STAGE_DEFAULTS,
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
        out_indices: Stages whose maps are given, in a tuple: the last one after the norm, the
            others as their blocks leave them. None gives the map of the last stage by itself.
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
        out_indices: Sequence[int] | None = None,
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
        if out_indices is not None and not set() < set(out_indices) <= set(range(len(dims))):
            raise ValueError(
                f'out_indices={tuple(out_indices)} names no stages from 0 to {len(dims) - 1}.'
            )
        self.out_indices = None if out_indices is None else tuple(out_indices)
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

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Features of clips.

        Args:
            x: Clips (B, in_chans, T, H, W), normalized.

        Returns:
            The last stage's map (B, C, T', H', W'), with
            T' = T / 2, H' = H / 32, W' = W / 32 (rounded up) in the published sizes;
            the maps of the stages `out_indices`, in the order of the stages, if these are given.

        Raises:
            ValueError: Wrong number of axes or channels, no floats, or a clip smaller than one
                patch.
        """
        self._check_input(x)
        x = x.permute(0, 2, 3, 4, 1)  # (B, C, T, H, W) -> (B, T, H, W, C)
        last = len(self.blocks) - 1
        wanted = (last,) if self.out_indices is None else self.out_indices
        maps: list[Tensor] = []
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
            if i in wanted:
                y = x.float() if self._residual_is_bf16(x) else x
                y = self.norm(y) if i == last else y
                maps.append(y.permute(0, 4, 1, 2, 3))  # (B, T, H, W, C) -> (B, C, T, H, W)
        return maps[0] if self.out_indices is None else tuple(maps)

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
            synced = any(type(m) is not nn.BatchNorm3d for m in batch_norms(block))
            y = block(x) if synced else checkpoint(block, x, use_reentrant=False)
            return y
        y = checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_batch_statistics(block)),
        )
        return y

    def _check_input(self, x: Tensor) -> None:
        patch = self.geometry[0].patch
        if x.ndim != 5 or x.shape[1] != self.in_chans:
            raise ValueError(
                f'DualFormer takes clips of shape (batch, {self.in_chans}, T, H, W), '
                f'not {tuple(x.shape)}; a recognizer (batch, views, {self.in_chans}, T, H, W).'
            )
        if not x.is_floating_point():
            raise ValueError(
                f'DualFormer takes normalized clips of floats, not {x.dtype}: subtract the mean '
                'and divide by the std of the training, as `model.data_preprocessor` of a '
                'recognizer does (`model.test_step` and the inferencers call it).'
            )
        if any(n < p for n, p in zip(x.shape[2:], patch, strict=True)):
            raise ValueError(
                f'A clip of {tuple(x.shape[2:])} (T, H, W) is smaller than one patch {patch}.'
            )


@torch.no_grad()
def _normal(weight: Tensor, std: float) -> None:
    """A normal distribution, cut off at ±2, in place, by the inverse of its distribution function.

    It draws what timm's `trunc_normal_` draws, whatever the release of PyTorch, whose own
    `nn.init.trunc_normal_` has changed its draws.
    """
    if not weight.is_meta:  # which has no values; PyTorch would go through these steps in Python
        weight.uniform_(-1, 1).erfinv_().mul_(std * math.sqrt(2)).clamp_(-2, 2)


def _init_module(module: nn.Module) -> None:
    """Truncated normal for linear layers, He (fan out) for convolutions, one and zero for norms."""
    if isinstance(module, nn.Linear):
        _normal(module.weight, std=0.02)
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
