"""UniFormer: local affinity by convolutions in early stages, attention in later ones.

Li, Wang, Gao, Song, Liu, Li, Qiao: "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", arXiv:2201.04676. Parameter names are those of mmaction2 1.2.

Shapes: B clips, (T, H, W) the grid of a stage, C channels. Maps are channels-first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmaction.models.common.pretrained import inflate_center
from mmaction.models.common.transformer import Attention, VideoTransformer, drop_path_rates
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath, Mlp

__all__ = ['GlobalBlock', 'LocalBlock', 'PatchEmbed', 'UniFormer']

_ADDRESS = 'https://download.openmmlab.com/mmaction/v1.0/recognition/uniformerv1/'
WEIGHTS = {
    'uniformer_small_in1k': f'{_ADDRESS}uniformer_small_in1k_20221219-fe0a7ae0.pth',
    'uniformer_base_in1k': f'{_ADDRESS}uniformer_base_in1k_20221219-82c01015.pth',
}


class PatchEmbed(nn.Module):
    """Patches of a map, normed: (B, c, T', H', W') -> (B, C, T, H, W)."""

    def __init__(self, in_dims: int, dims: int, patch: int, halve_time: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        kernel, stride = (3, 2) if halve_time else (1, 1)
        self.proj = nn.Conv3d(
            in_dims, dims, (kernel, patch, patch), (stride, patch, patch), (kernel // 2, 0, 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, T', H', W') -> (B, C, T, H, W)."""
        y: Tensor = self.norm(self.proj(x).movedim(1, -1)).movedim(-1, 1)
        return y


class LocalBlock(nn.Module):
    """Affinity of neighbors as convolutions: a depthwise one of 5^3 between two of 1^3."""

    def __init__(self, dims: int, mlp_ratio: float, drop: float, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(dims, dims, 3, padding=1, groups=dims)
        self.norm1 = nn.BatchNorm3d(dims)
        self.conv1 = nn.Conv3d(dims, dims, 1)
        self.conv2 = nn.Conv3d(dims, dims, 1)
        self.attn = nn.Conv3d(dims, dims, 5, padding=2, groups=dims)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm3d(dims)
        mlp: Any = Mlp(dims, int(dims * mlp_ratio), drop)
        mlp.fc1 = nn.Conv3d(dims, int(dims * mlp_ratio), 1)
        mlp.fc2 = nn.Conv3d(int(dims * mlp_ratio), dims, 1)
        self.mlp: nn.Module = mlp

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same."""
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class GlobalBlock(nn.Module):
    """Attention of all tokens, with a depthwise convolution for their positions."""

    def __init__(
        self, dims: int, mlp_ratio: float, drop: float, drop_path: float, **attention: Any
    ) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(dims, dims, 3, padding=1, groups=dims)
        self.norm1 = nn.LayerNorm(dims)
        self.attn = Attention(dims, proj_drop=drop, **attention)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = Mlp(dims, int(dims * mlp_ratio), drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same."""
        x = x + self.pos_embed(x)
        grid = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)  # (B, C, T, H, W) -> (B, N, C)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return torch.unflatten(x.transpose(1, 2), 2, grid)


@MODELS.register_module()
class UniFormer(VideoTransformer):
    """Four stages: two of convolutions, two of attention.

    Args:
        depth: Blocks of each stage.
        img_size: Height and width of a clip; any size works.
        in_chans: Channels of a clip.
        embed_dim: Channels of each stage.
        head_dim: Channels of a head.
        pretrained2d: Whether `pretrained` is of an image UniFormer, then inflated.
        kwargs: Arguments of `VideoTransformer`, which has the meaning of the others.
            `pretrained` may be 'uniformer_small_in1k' or 'uniformer_base_in1k'; `with_cp` is
            for the blocks of attention.
    """

    published = WEIGHTS

    def __init__(
        self,
        depth: Sequence[int] = (5, 8, 20, 7),
        img_size: int = 224,
        in_chans: int = 3,
        embed_dim: Sequence[int] = (64, 128, 320, 512),
        head_dim: int = 64,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pretrained2d: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.translation = inflate_center if pretrained2d else None
        before = (in_chans, *embed_dim[:-1])
        for i, (source, dims) in enumerate(zip(before, embed_dim, strict=True)):
            embed = PatchEmbed(source, dims, patch=2 if i else 4, halve_time=not i)
            self.add_module(f'patch_embed{i + 1}', embed)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depth)))
        attention: dict[str, Any] = dict(
            qkv_bias=qkv_bias, qk_scale=qk_scale, attn_drop=attn_drop_rate
        )
        for i, (blocks, dims) in enumerate(zip(depth, embed_dim, strict=True)):
            shared = (dims, mlp_ratio, drop_rate)
            stage: list[nn.Module] = [
                LocalBlock(*shared, next(rates))
                if i < 2
                else GlobalBlock(*shared, next(rates), num_heads=dims // head_dim, **attention)
                for _ in range(blocks)
            ]
            self.add_module(f'blocks{i + 1}', nn.ModuleList(stage))
        self.norm = nn.BatchNorm3d(embed_dim[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, c, T, H, W) -> map (B, C, T / 2, H / 32, W / 32)."""
        for i in range(1, 5):
            x = getattr(self, f'patch_embed{i}')(x)
            if i == 1:
                x = self.pos_drop(x)
            x = self.run_blocks(getattr(self, f'blocks{i}'), x)
        y: Tensor = self.norm(x)
        return y
