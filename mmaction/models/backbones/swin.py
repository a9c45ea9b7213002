"""Video Swin Transformer, of torchvision's blocks under mmaction2's names.

Liu, Ning, Cao, Wei, Zhang, Lin, Hu: "Video Swin Transformer", arXiv:2106.13230. Patch
embedding, parameters of the window attention, block and patch merging are those of
`torchvision.models.video.swin_transformer` (swin3d_t, swin3d_s, swin3d_b). What is here computes
the attention in a form that can be compiled, puts all into mmaction2's stages, gives maps of
several stages, freezes and inflates.

Shapes: B clips, (T, H, W) the token grid of a stage, C channels. Tokens are channels-last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torchvision.models.video.swin_transformer import PatchEmbed3d, ShiftedWindowAttention3d

from mmaction.models.common.layers import build_norm_layer
from mmaction.models.common.transformer import VideoTransformer, check_keys, drop_path_rates
from mmaction.models.utils.attention_ops import attention
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath, Mlp
from .dualformer_geometry import Size3
from .dualformer_layout import grid_of, pad_to_multiple, window_merge, window_partition

__all__ = ['Block', 'SwinTransformer3D', 'WindowAttention', 'inflate']

ARCHITECTURES: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}
ARCHITECTURES |= {name[0]: settings for name, settings in ARCHITECTURES.items()}


class WindowAttention(ShiftedWindowAttention3d):
    """torchvision's, computed by PyTorch's fused attention.

    torchvision fills the mask of a shifted grid in 27 parts, which takes a compiler minutes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same."""
        # A window that is larger than the grid shrinks to it and does not move.
        T, H, W = grid_of(x)
        t, h, w = map(min, self.window_size, (T, H, W))
        window, moves = (t, h, w), (t < T, h < H, w < W)
        shift = [s * moving for s, moving in zip(self.shift_size, moves, strict=True)]
        padded = pad_to_multiple(x, window)
        grid = grid_of(padded)
        shifted = padded.roll([-s for s in shift], (1, 2, 3)) if any(shift) else padded
        qkv = self.qkv(window_partition(shifted, window)).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B * windows, h, N, d)
        bias = self.get_relative_position_bias([t, h, w])  # (1, h, N, N)
        if any(shift):
            # Each window has a bias of its own: (windows * h, N, N)
            bias = (bias + _apart(grid, window, shift, x)).flatten(0, 1)
            q, k, v = (y.unflatten(0, (len(x), -1)).flatten(1, 2) for y in (q, k, v))
        dropout = self.attention_dropout if self.training else 0.0
        y = attention(q, k, v, dropout, bias=bias)
        y = y.reshape(-1, self.num_heads, *y.shape[2:]).transpose(1, 2)
        # Copied by name: the ONNX exporter gives the attention another layout than PyTorch.
        y = y.clone(memory_format=torch.contiguous_format).flatten(2)
        y = window_merge(F.dropout(self.proj(y), self.dropout, self.training), window, grid)
        if any(shift):
            y = y.roll(shift, (1, 2, 3))
        return y[:, :T, :H, :W]


def _apart(grid: Size3, window: Size3, shift: Sequence[int], like: Tensor) -> Tensor:
    """-100 between tokens that only the shift brought into one window: (windows, 1, N, N)."""
    side = like.new_zeros(1, *grid, 1)
    for axis, (size, s) in enumerate(zip(grid, shift, strict=True)):
        came_round = torch.arange(size, device=like.device) >= size - s
        side = side * 2 + came_round.view([-1 if i == axis + 1 else 1 for i in range(5)])
    sides = window_partition(side, window)  # (windows, N, 1)
    return -100.0 * (sides != sides.transpose(1, 2)).to(like.dtype)[:, None]


class Block(SwinTransformerBlock):
    """torchvision's block, its feed-forward layers named `fc1` and `fc2`."""

    def __init__(
        self, dims: int, mlp_ratio: float, dropout: float, drop_path: float, **kwargs: Any
    ) -> None:
        super().__init__(dims, mlp_ratio=mlp_ratio, dropout=dropout, **kwargs)
        self.add_module('mlp', Mlp(dims, int(dims * mlp_ratio), dropout))
        # Compiled, blocks share a graph whatever its rate.
        self.add_module('stochastic_depth', DropPath(drop_path))


@MODELS.register_module()
class SwinTransformer3D(VideoTransformer):
    """Backbone with attention in shifted windows.

    Args:
        arch: 'tiny', 'small', 'base', 'large' (or the first letter), or a dict of
            `embed_dims`, `depths` and `num_heads`.
        pretrained: As in `VideoTransformer`.
        pretrained2d: Whether it is of an image Swin, which is then inflated.
        patch_size: Patch (time, height, width), or one size for all.
        window_size: Window (time, height, width).
        qk_scale: Only None.
        patch_norm: Whether patches are normed.
        frozen_stages: 0 freezes the patch embedding, n > 0 also the first n stages;
            -1 freezes nothing.
        out_indices: Stages whose maps are given, each after a norm.
        out_after_downsample: Give them after the patches are merged.
        kwargs: Further arguments of `VideoTransformer`, which has the meaning of the others.

    Raises:
        ValueError: Unknown `arch`, an index outside its stages, or a `qk_scale`.
    """

    def __init__(
        self,
        arch: str | dict[str, Any],
        pretrained: str | None = None,
        pretrained2d: bool = True,
        patch_size: int | Sequence[int] = (2, 4, 4),
        in_channels: int = 3,
        window_size: Sequence[int] = (8, 7, 7),
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        norm_cfg: dict[str, Any] = dict(type='LN'),  # noqa: B006 (built, never written to)
        patch_norm: bool = True,
        frozen_stages: int = -1,
        out_indices: Sequence[int] = (3,),
        out_after_downsample: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, **kwargs)
        settings = check_keys(arch, ARCHITECTURES)
        dims, depths, heads = (settings[k] for k in ('embed_dims', 'depths', 'num_heads'))
        if qk_scale is not None:
            raise ValueError(f'qk_scale={qk_scale}: SwinTransformer3D scales by 1 / sqrt(d) alone')
        if len(depths) != len(heads) or not all(0 <= i < len(depths) for i in out_indices):
            raise ValueError(
                f'arch has {len(depths)} depths and {len(heads)} num_heads: they must be as many, '
                f'and out_indices={tuple(out_indices)} from 0 to {len(depths) - 1}'
            )
        self.translation = inflate if pretrained2d else None
        self.frozen_stages = frozen_stages
        self.out_indices = tuple(out_indices)
        self.out_after_downsample = out_after_downsample
        patch = [patch_size] * 3 if isinstance(patch_size, int) else list(patch_size)
        norm_layer = partial(build_norm_layer, norm_cfg)
        self.patch_embed = PatchEmbed3d(
            patch, in_channels, dims, norm_layer if patch_norm else None
        )
        self.pos_drop = nn.Dropout(drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        last = len(depths) - 1
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            blocks = nn.ModuleList(
                Block(
                    dims << i,
                    mlp_ratio,
                    drop_rate,
                    next(rates),
                    num_heads=heads[i],
                    window_size=list(window_size),
                    shift_size=[size // 2 if j % 2 else 0 for size in window_size],
                    attention_dropout=attn_drop_rate,
                    norm_layer=norm_layer,
                    attn_layer=partial(WindowAttention, qkv_bias=qkv_bias),
                )
                for j in range(depth)
            )
            merge = PatchMerging(dims << i, norm_layer) if i < last else nn.Identity()
            self.layers.append(nn.ModuleDict(dict(blocks=blocks, downsample=merge)))
        for i in self.out_indices:
            merged = out_after_downsample and i < last
            self.add_module(f'norm{i}', norm_layer(dims << (i + merged)))
        for module in self._frozen_parts():
            module.requires_grad_(False)

    def _frozen_parts(self) -> list[nn.Module]:
        """The modules that `frozen_stages` keeps as they are."""
        n = self.frozen_stages
        return [self.patch_embed, self.pos_drop, *self.layers][: max(n + 1, 0) + (n > 0)]

    def train(self, mode: bool = True) -> SwinTransformer3D:
        """Switch to training or evaluation; frozen stages stay in evaluation."""
        super().train(mode)
        for module in self._frozen_parts():
            module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Clips (B, c, T, H, W) -> map (B, C, T', H', W') of each stage of `out_indices`."""
        x = self.pos_drop(self.patch_embed(x))  # (B, T, H, W, C)
        maps = []
        stage: Any
        for i, stage in enumerate(self.layers):
            x = self.run_blocks(stage.blocks, x)
            merged = stage.downsample(x)
            if i in self.out_indices:
                chosen = merged if self.out_after_downsample else x
                maps.append(getattr(self, f'norm{i}')(chosen).permute(0, 4, 1, 2, 3))
            x = merged
        return maps[0] if len(maps) == 1 else tuple(maps)


def inflate(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights of an image Swin as those of a video Swin.

    Patches are averages over their frames. Tables of relative positions are repeated for
    each distance in time, after bicubic interpolation where windows differ. The last norm
    is that of the last stage.
    """
    own = model.state_dict()
    inflated = {
        re.sub(r'^norm\.', 'norm3.', name): value
        for name, value in state.items()
        if not name.endswith(('relative_position_index', 'attn_mask'))
    }
    key = 'patch_embed.proj.weight'
    frames = own[key].shape[2]
    inflated[key] = state[key].unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
    attention: Any = model.get_submodule('layers.0.blocks.0.attn')
    distances = [2 * size - 1 for size in attention.window_size]
    for name in (name for name in state if name.endswith('relative_position_bias_table')):
        square = int(len(state[name]) ** 0.5)
        table = state[name].t().unflatten(1, (square, square))[None]  # (1, h, distances in space)
        if [square, square] != distances[1:]:
            table = F.interpolate(table, size=distances[1:], mode='bicubic')
        inflated[name] = table[0].flatten(1).t().repeat(distances[0], 1)
    return inflated
