"""MViTv2: a ViT that pools queries, keys and values, and halves its grid from scale to scale.

Li, Wu, Fan, Mangalam, Xiong, Malik, Feichtenhofer: "MViTv2: Improved Multiscale Vision
Transformers for Classification and Detection", arXiv:2112.01526. Parameter names are those of
mmaction2 1.2. torchvision's `mvit_v2_s` computes the same, but its blocks are made for one size of
clips and a class token; these take any size, and give maps of several scales.

Shapes: B clips, (T, H, W) the grid of a block, N tokens (one more with a class token), C channels,
h heads, d channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.models.common.layers import LN, build_norm_layer, named
from mmaction.models.common.transformer import PatchTransformer, Size3, check_keys, drop_path_rates
from mmaction.models.utils.attention_ops import attention
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath, Mlp

__all__ = ['MViT', 'MultiScaleAttention', 'MultiScaleBlock', 'pool_tokens', 'relative_positions']

ARCHITECTURES: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=96, num_layers=10, num_heads=1, downscale_indices=(1, 3, 8)),
    'small': dict(embed_dims=96, num_layers=16, num_heads=1, downscale_indices=(1, 3, 14)),
    'base': dict(embed_dims=96, num_layers=24, num_heads=1, downscale_indices=(2, 5, 21)),
    'large': dict(embed_dims=144, num_layers=48, num_heads=2, downscale_indices=(2, 8, 44)),
}
PATCHES = dict(kernel_size=(3, 7, 7), stride=(2, 4, 4), padding=(1, 3, 3))
FIRST_WEIGHTS = [
    dict(type='TruncNormal', layer=['Conv2d', 'Conv3d'], std=0.02),
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.02),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.02),
]


def pool_tokens(x: Tensor, grid: Size3, pool: Callable[[Tensor], Any]) -> tuple[Tensor, Size3]:
    """Pool the tokens of a grid; what stands before them, a class token, passes by.

    Args:
        x: Tokens (B, N, C) or, of each head, (B, h, N, d).
        grid: (T, H, W), with N = T H W or 1 + T H W.
        pool: Takes and gives maps (B or B h, channels, T, H, W).

    Returns:
        Pooled tokens and their grid.
    """
    count = math.prod(grid)
    classes, patches = x[..., :-count, :], x[..., -count:, :]
    if x.device.type == 'cpu':  # pools maps several times as fast with channels last
        maps = pool(patches.reshape(-1, *grid, x.shape[-1]).movedim(-1, 1))
    else:
        maps = pool(patches.transpose(-1, -2).reshape(-1, x.shape[-1], *grid))
    patches = maps.flatten(2).transpose(1, 2).unflatten(0, x.shape[:-2])
    return torch.cat((classes, patches), -2), tuple(maps.shape[2:])


def resize_table(table: Tensor, length: int) -> Tensor:
    """A table of relative positions (any length, d) -> (length, d), interpolated."""
    if len(table) == length:
        return table
    return F.interpolate(table.t()[None], size=length, mode='linear')[0].t()


def relative_positions(table: Tensor, queries: int, keys: int) -> Tensor:
    """What one axis adds for each pair of a query and a key, (queries, keys, d).

    A table made for another size is interpolated; of fewer keys than queries, or the
    reverse, each stands for several places.
    """
    table = resize_table(table, 2 * max(queries, keys) - 1)
    q = torch.arange(queries, device=table.device)[:, None] * max(keys / queries, 1.0)
    k = torch.arange(keys, device=table.device) * max(queries / keys, 1.0)
    return table[(q - k + (keys - 1) * max(queries / keys, 1.0)).long()]


class MultiScaleAttention(nn.Module):
    """Attention with pooled queries, keys and values and relative positions.

    `kernel` and strides are those of the pooling, `grid` is what the tables of relative
    positions are made for (None: there are none).
    """

    def __init__(
        self,
        in_dims: int,
        dims: int,
        num_heads: int,
        qkv_bias: bool,
        norm_cfg: dict[str, Any],
        kernel: Size3,
        stride_q: Size3,
        stride_kv: Size3,
        grid: Size3 | None,
        zero_init: bool,
        residual_pooling: bool,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.residual_pooling = residual_pooling
        d = dims // num_heads
        self.qkv = nn.Linear(in_dims, dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(dims, dims)
        for name, stride in (('q', stride_q), ('k', stride_kv), ('v', stride_kv)):
            padding: Any = tuple(size // 2 for size in kernel)
            pool = nn.Conv3d(d, d, kernel, stride, padding, groups=d, bias=False)
            self.add_module(f'pool_{name}', pool)
            self.add_module(f'norm_{name}', build_norm_layer(norm_cfg, d))
        if grid is not None:
            longest = max(grid[1] // stride_q[1], grid[1] // stride_kv[1])
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * longest - 1, d))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * longest - 1, d))
            self.rel_pos_t = nn.Parameter(torch.zeros(2 * grid[0] - 1, d))
            for table in () if zero_init else (self.rel_pos_h, self.rel_pos_w, self.rel_pos_t):
                nn.init.trunc_normal_(table, std=0.02)

    def _pooled(self, name: str, x: Tensor, grid: Size3) -> tuple[Tensor, Size3]:
        x, grid = pool_tokens(x, grid, getattr(self, f'pool_{name}'))
        return getattr(self, f'norm_{name}')(x), grid

    def _position_bias(self, q: Tensor, grid: Size3, key_grid: Size3) -> Tensor:
        """(B, h, T H W, d) -> what positions add to the products, (B, h, T H W, keys)."""
        q = q.unflatten(2, grid)
        tables = zip((self.rel_pos_t, self.rel_pos_h, self.rel_pos_w), grid, key_grid, strict=True)
        t, h, w = (relative_positions(*sizes).to(q.dtype) for sizes in tables)
        bias = torch.einsum('bnthwd,tkd->bnthwk', q, t)[..., None, None]
        bias = bias + torch.einsum('bnthwd,hkd->bnthwk', q, h)[..., None, :, None]
        bias = bias + torch.einsum('bnthwd,wkd->bnthwk', q, w)[..., None, None, :]
        return bias.flatten(5).flatten(2, 4)

    def forward(self, x: Tensor, grid: Size3) -> tuple[Tensor, Size3]:
        """(B, N, in_dims) -> (B, N', C) and the pooled grid."""
        classes = x.shape[1] - math.prod(grid)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, q_grid = self._pooled('q', q, grid)  # (B, h, N, d)
        k, k_grid = self._pooled('k', k, grid)
        v, _ = self._pooled('v', v, grid)
        bias = None
        if hasattr(self, 'rel_pos_t'):  # a class token has no position
            bias = self._position_bias(q[:, :, classes:], q_grid, k_grid)
            bias = F.pad(bias, (classes, 0, classes, 0))
        x = attention(q, k, v, bias=bias)
        if self.residual_pooling:
            x = torch.cat((x[:, :, :classes], x[:, :, classes:] + q[:, :, classes:]), 2)
        return self.proj(x.transpose(1, 2).flatten(2)), q_grid


class MultiScaleBlock(nn.Module):
    """Attention, which may halve the grid, and feed-forward.

    With `dim_mul_in_attention`, attention makes C channels of `in_dims`, else the feed-forward.
    `attention` are further arguments of `MultiScaleAttention`.
    """

    def __init__(
        self,
        in_dims: int,
        dims: int,
        drop_path: float,
        mlp_ratio: float,
        norm_cfg: dict[str, Any],
        stride_q: Size3,
        dim_mul_in_attention: bool,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.dim_mul_in_attention = dim_mul_in_attention
        inner = dims if dim_mul_in_attention else in_dims
        self.norm1 = build_norm_layer(norm_cfg, in_dims)
        self.attn = MultiScaleAttention(
            in_dims, inner, norm_cfg=norm_cfg, stride_q=stride_q, **attention
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = build_norm_layer(norm_cfg, inner)
        self.mlp = Mlp(inner, int(inner * mlp_ratio), out_dim=dims)
        self.proj = nn.Linear(in_dims, dims) if in_dims != dims else None
        kernel = tuple(s + 1 if s > 1 else s for s in stride_q)
        pool = nn.MaxPool3d(kernel, stride_q, tuple(size // 2 for size in kernel))
        self.pool_skip = pool if max(stride_q) > 1 else None

    def forward(self, inputs: tuple[Tensor, Size3]) -> tuple[Tensor, Size3]:
        """Tokens (B, N, in_dims) and their grid -> (B, N', C) and theirs."""
        x, grid = inputs
        normed = self.norm1(x)
        change, new_grid = self.attn(normed, grid)
        if self.proj is not None and self.dim_mul_in_attention:
            x = self.proj(normed)
        if self.pool_skip is not None:
            x, _ = pool_tokens(x, grid, self.pool_skip)
        x = x + self.drop_path(change)
        normed = self.norm2(x)
        if self.proj is not None and not self.dim_mul_in_attention:
            x = self.proj(normed)
        return x + self.drop_path(self.mlp(normed)), new_grid


@MODELS.register_module()
class MViT(PatchTransformer):
    """Multiscale ViT of version 2.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict of `embed_dims`, `num_layers`,
            `num_heads` and `downscale_indices` (blocks that halve the grid; with
            `dim_mul_indices`, other blocks that double heads and channels).
        spatial_size: Height and width that tables of positions are made for.
        temporal_size: Frames that they are made for.
        pretrained_type: 'maskfeat' interpolates its tables of relative positions.
        out_scales: Scales whose maps are given; negative ones count from the last.
        use_abs_pos_embed: Whether positions are coded absolutely too.
        interpolate_mode: How these codes are interpolated for other sizes.
        pool_kernel: Kernel of the pooling convolutions.
        dim_mul: Growth of the channels at each scale.
        head_mul: Growth of the heads.
        adaptive_kv_stride: Stride of keys and values in the first scale, halved with
            each further one.
        rel_pos_embed: Whether attention knows relative positions.
        residual_pooling: Whether pooled queries are added to the attention's output.
        dim_mul_in_attention: Whether channels grow in the attention of the block that
            halves the grid, or in the feed-forward of the block before.
        with_cls_token: Whether a class token runs along.
        output_cls_token: Whether it is given with each map.
        rel_pos_zero_init: Whether tables of relative positions start as zeros.
        patch_cfg: `kernel_size`, `stride` and `padding` of the patch embedding.
        kwargs: Further arguments of `VideoTransformer`, which has the meaning of the others.

    Raises:
        ValueError: Unknown `arch` or scale, or an output token without a token.
    """

    # After the last block, the class token alone counts.
    cam_layer = 'blocks/-2'

    def __init__(
        self,
        arch: str | dict[str, Any] = 'base',
        spatial_size: int = 224,
        temporal_size: int = 16,
        in_channels: int = 3,
        pretrained_type: str | None = None,
        out_scales: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        use_abs_pos_embed: bool = False,
        interpolate_mode: str = 'trilinear',
        pool_kernel: Sequence[int] = (3, 3, 3),
        dim_mul: int = 2,
        head_mul: int = 2,
        adaptive_kv_stride: Sequence[int] = (1, 8, 8),
        rel_pos_embed: bool = True,
        residual_pooling: bool = True,
        dim_mul_in_attention: bool = True,
        with_cls_token: bool = True,
        output_cls_token: bool = True,
        rel_pos_zero_init: bool = False,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_cfg: dict[str, Any] = LN,
        patch_cfg: Mapping[str, Any] = PATCHES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{'init_cfg': FIRST_WEIGHTS, **kwargs})
        settings = check_keys(arch, ARCHITECTURES)
        halving = tuple(settings['downscale_indices'])
        widening = tuple(settings.get('dim_mul_indices', halving))
        depth, dims, heads = (settings[k] for k in ('num_layers', 'embed_dims', 'num_heads'))
        scales = len(halving) + 1
        wanted = {out_scales} if isinstance(out_scales, int) else set(out_scales)
        if not all(-scales <= scale < scales for scale in wanted):
            raise ValueError(f'out_scales={out_scales}: arch has the scales 0 to {scales - 1}')
        if output_cls_token and not with_cls_token:
            raise ValueError('output_cls_token needs with_cls_token; set it to False as well')
        if pretrained_type not in (None, 'maskfeat'):
            raise ValueError(f"pretrained_type={pretrained_type!r} is neither None nor 'maskfeat'")
        self.translation = resize_tables if pretrained_type else None
        self.interpolate_mode = interpolate_mode
        self.with_cls_token = with_cls_token
        self.output_cls_token = output_cls_token
        self.patch_embed = named(projection=nn.Conv3d(in_channels, dims, **patch_cfg))
        grid = self.grid = self.patch_grid((temporal_size, spatial_size, spatial_size))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        if use_abs_pos_embed:
            self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(grid) + 1, dims))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        ends = enumerate((*halving, depth))  # which scale ends before which block
        self.out_blocks = {block - 1: i for i, block in ends if {i, i - scales} & wanted}
        shared: dict[str, Any] = dict(
            mlp_ratio=mlp_ratio,
            norm_cfg=norm_cfg,
            dim_mul_in_attention=dim_mul_in_attention,
            qkv_bias=qkv_bias,
            kernel=tuple(pool_kernel),
            zero_init=rel_pos_zero_init,
            residual_pooling=residual_pooling,
        )
        self.blocks = nn.ModuleList()
        stride_kv = tuple(adaptive_kv_stride)
        for i, rate in enumerate(drop_path_rates(drop_path_rate, depth)):
            if i in {*halving, *widening}:
                heads *= head_mul
            if i in halving:
                stride_kv = tuple(max(stride // 2, 1) for stride in stride_kv)
            stride_q = (1, 2, 2) if i in halving else (1, 1, 1)
            grows = (i if dim_mul_in_attention else i + 1) in widening
            before, dims = dims, dims * dim_mul if grows else dims
            sizes: dict[str, Any] = dict(num_heads=heads, stride_q=stride_q, stride_kv=stride_kv)
            sizes['grid'] = grid if rel_pos_embed else None
            self.blocks.append(MultiScaleBlock(before, dims, rate, **sizes, **shared))
            grid = (grid[0], grid[1] // stride_q[1], grid[2] // stride_q[2])
            if i in self.out_blocks:
                self.add_module(f'norm{self.out_blocks[i]}', build_norm_layer(norm_cfg, dims))

    def _positions(self, grid: Size3) -> Tensor:
        """Absolute position codes (1, 1 + N, C) of a grid."""
        if grid == self.grid:
            return self.pos_embed
        resize = partial(F.interpolate, size=grid, mode=self.interpolate_mode, align_corners=False)
        return pool_tokens(self.pos_embed, self.grid, resize)[0]

    def forward(self, x: Tensor) -> tuple[Tensor | list[Tensor], ...]:
        """Maps of clips (B, c, T', H', W').

        Returns:
            Of each scale of `out_scales`, the map (B, C, T, H, W), or with
            `output_cls_token` a list of it and the class token (B, C).
        """
        x, grid = self.embed_patches(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1)  # (B, 1 + N, C)
        if hasattr(self, 'pos_embed'):
            x = x + self._positions(grid)
        if not self.with_cls_token:
            x = x[:, 1:]
        outs: list[Tensor | list[Tensor]] = []
        for i, block in enumerate(self.blocks):
            x, grid = self.run_blocks([block], (x, grid))
            if i in self.out_blocks:
                # As published: what runs on from an inner scale is normed too.
                x = getattr(self, f'norm{self.out_blocks[i]}')(x)
                out = x[:, int(self.with_cls_token) :].transpose(1, 2).unflatten(2, grid)
                outs.append([out, x[:, 0]] if self.output_cls_token else out)
        return tuple(outs)


def resize_tables(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights with their tables of relative positions at the lengths of `model`."""
    return state | {
        name: resize_table(state[name], len(table))
        for name, table in model.state_dict().items()
        if 'attn.rel_pos' in name and name in state
    }
