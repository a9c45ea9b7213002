"""The plain video ViT of VideoMAE.

Tong, Song, Wang, Wang: "VideoMAE: Masked Autoencoders are Data-Efficient Learners for
Self-Supervised Video Pre-Training", arXiv:2203.12602. VideoMAE V2 (arXiv:2303.16727) has
the same network. Parameter names are those of mmaction2 1.2.

Shapes: B clips, (T, H, W) the token grid, N = T H W tokens, C channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.models.common.layers import LN, build_norm_layer, feed_forward, named
from mmaction.models.common.transformer import Attention, PatchTransformer, Size3, drop_path_rates
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath

__all__ = ['Block', 'VisionTransformer', 'sinusoids']


def sinusoids(positions: int, dims: int) -> Tensor:
    """Fixed position codes (1, N, C): sines in the even channels, cosines in the odd ones.

    Source: Vaswani et al., arXiv:1706.03762, section 3.5.
    """
    channels = torch.arange(dims, dtype=torch.float64)
    rates = 10000 ** (-(channels - channels % 2) / dims)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()[None]


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and around a shortcut.

    Each is multiplied with factors that are `init_values` at first (LayerScale), unless that is 0.
    `drop` is the dropout of both, `attention` what else `Attention` takes.
    """

    gamma_1: nn.Parameter | float
    gamma_2: nn.Parameter | float

    def __init__(
        self,
        dims: int,
        mlp_ratio: float,
        norm_cfg: dict[str, Any],
        init_values: float,
        drop: float,
        drop_path: float,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, dims)
        self.attn = Attention(dims, key_bias=False, proj_drop=drop, **attention)
        self.drop_path = DropPath(drop_path)
        self.norm2 = build_norm_layer(norm_cfg, dims)
        self.mlp = named(layers=feed_forward(dims, int(dims * mlp_ratio), drop))
        for name in ('gamma_1', 'gamma_2'):
            factors = nn.Parameter(torch.full((dims,), init_values)) if init_values > 0 else 1.0
            setattr(self, name, factors)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.drop_path(self.gamma_1 * self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.gamma_2 * self.mlp(self.norm2(x)))
        return y


@MODELS.register_module()
class VisionTransformer(PatchTransformer):
    """The encoder of VideoMAE, as it is fine-tuned.

    Args:
        img_size: Height and width that the position codes are made for; they are
            interpolated for other sizes.
        patch_size: Height and width of a patch.
        embed_dims: Channels C.
        depth: Number of blocks.
        num_heads: Heads of each attention.
        init_values: First factor of each branch; 0 for none.
        use_learnable_pos_emb: Whether position codes are learned; else they are sinusoids.
        num_frames: Frames of a clip.
        tubelet_size: Frames of a patch.
        use_mean_pooling: Give the mean of the tokens, then normed; else the first token.
        return_feat_map: Give the map of all tokens instead.
        kwargs: Arguments of `VideoTransformer`, which has the meaning of the others.
    """

    cam_layer = 'blocks/-1'

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_cfg: dict[str, Any] = LN,
        init_values: float = 0.0,
        use_learnable_pos_emb: bool = False,
        num_frames: int = 16,
        tubelet_size: int = 2,
        use_mean_pooling: bool = True,
        return_feat_map: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        patch = (tubelet_size, patch_size, patch_size)
        self.patch_embed = named(projection=nn.Conv3d(in_channels, embed_dims, patch, patch))
        self.grid = self.patch_grid((num_frames, img_size, img_size))
        positions = math.prod(self.grid)
        if use_learnable_pos_emb:
            self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dims))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        else:
            self.register_buffer('pos_embed', sinusoids(positions, embed_dims))
        self.pos_drop = nn.Dropout(drop_rate)
        attention: dict[str, Any] = dict(
            num_heads=num_heads, qkv_bias=qkv_bias, qk_scale=qk_scale, attn_drop=attn_drop_rate
        )
        shared = (embed_dims, mlp_ratio, norm_cfg, init_values, drop_rate)
        self.blocks = nn.ModuleList(
            Block(*shared, rate, **attention) for rate in drop_path_rates(drop_path_rate, depth)
        )
        norm = build_norm_layer(norm_cfg, embed_dims)
        self.norm = nn.Identity() if use_mean_pooling else norm
        self.fc_norm = norm if use_mean_pooling else None
        self.return_feat_map = return_feat_map

    def _positions(self, grid: Size3) -> Tensor:
        """Position codes (1, N, C) of a grid; bicubic where it is not that of `img_size`."""
        if grid[0] != self.grid[0]:
            raise ValueError(
                f'the clip has {grid[0]} patches in time, but position codes for {self.grid[0]}: '
                'set num_frames of the backbone to the frames that the pipeline samples'
            )
        if grid == self.grid:
            return self.pos_embed
        codes = self.pos_embed.unflatten(1, self.grid)[0].permute(0, 3, 1, 2)  # (T, C, H, W)
        codes = F.interpolate(codes, size=grid[1:], mode='bicubic', align_corners=False)
        return codes.permute(0, 2, 3, 1).flatten(0, 2)[None]

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, c, T', H', W') -> (B, C), or the map (B, C, T, H, W)."""
        x, grid = self.embed_patches(x)
        x = self.pos_drop(x + self._positions(grid))
        x = self.norm(self.run_blocks(self.blocks, x))
        if self.return_feat_map:
            return torch.unflatten(x.transpose(1, 2), 2, grid)
        return x[:, 0] if self.fc_norm is None else self.fc_norm(x.mean(1))
