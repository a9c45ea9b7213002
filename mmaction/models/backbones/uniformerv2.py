"""UniFormerV2: the image ViT of CLIP, with global blocks that gather from all frames.

Li, Wang, He, Li, Wang, Wang, Qiao: "UniFormerV2: Spatiotemporal Learning by Arming Image ViTs
with Video UniFormer", arXiv:2211.09552. Parameter names are those of mmaction2 1.2, which are
CLIP's where CLIP has the layer.

Shapes: B clips, T frames, L = 1 + P tokens of a frame (a class token and P patches), C channels.
Tokens come first: (L, B T, C), so that stochastic depth drops what it drops in mmaction2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from einops import rearrange
from mmengine.model import constant_init
from torch import Tensor, nn

from mmaction.models.common.layers import named
from mmaction.models.common.pretrained import inflate_center
from mmaction.models.common.transformer import (
    MultiheadAttention,
    VideoTransformer,
    drop_path_rates,
)
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath

__all__ = ['GlobalBlock', 'LocalBlock', 'QuickGELU', 'Transformer', 'UniFormerV2']

_ADDRESS = 'https://download.openmmlab.com/mmaction/v1.0/recognition/uniformerv2/clipVisualEncoder/'
WEIGHTS = {
    'ViT-B/16': f'{_ADDRESS}vit-base-p16-res224_clip-rgb_20221219-b8a5da86.pth',
    'ViT-L/14': f'{_ADDRESS}vit-large-p14-res224_clip-rgb_20221219-9de7543e.pth',
    'ViT-L/14_336': f'{_ADDRESS}vit-large-p14-res336_clip-rgb_20221219-d370f9e5.pth',
}


def patch_map(tokens: Tensor, frames: int) -> Tensor:
    """Tokens (L, B T, C) -> map (B, C, T, H, W) of the patches, without the class tokens."""
    side = math.isqrt(len(tokens) - 1)
    return rearrange(tokens[1:], '(h w) (b t) c -> b c t h w', h=side, t=frames)


class QuickGELU(nn.Module):
    """CLIP's approximation of the GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


def feed_forward(dims: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """Two linear layers, under CLIP's names."""
    first, last = nn.Linear(dims, hidden), nn.Linear(hidden, dims)
    return named(c_fc=first, gelu=QuickGELU(), dropout=nn.Dropout(dropout), c_proj=last)


def local_mhra(dims: int, reduction: float) -> nn.Sequential:
    """Affinity of neighbors in time, as a depthwise convolution of fewer channels."""
    inner = int(dims // reduction)
    layers = nn.Sequential(
        nn.BatchNorm3d(dims),
        nn.Conv3d(dims, inner, 1),
        nn.Conv3d(inner, inner, (3, 1, 1), padding=(1, 0, 0), groups=inner),
        nn.Conv3d(inner, dims, 1),
    )
    # Zero at first: CLIP's weights then give what they give frames one by one.
    constant_init(layers[3], 0)
    return named(pos_embed=layers)


class LocalBlock(nn.Module):
    """CLIP's block on each of T `frames`, with affinity in time before attention, or around it.

    `local` says how many times there is this affinity (0, 1 or 2), `reduction` divides its
    channels.
    """

    def __init__(
        self, dims: int, num_heads: int, frames: int, drop_path: float, reduction: float, local: int
    ) -> None:
        super().__init__()
        self.frames = frames
        self.drop_path = DropPath(drop_path)
        self.lmhra1 = local_mhra(dims, reduction) if local > 0 else None
        self.lmhra2 = local_mhra(dims, reduction) if local > 1 else None
        self.attn = MultiheadAttention(dims, num_heads)
        self.ln_1 = nn.LayerNorm(dims)
        self.mlp = feed_forward(dims, 4 * dims)
        self.ln_2 = nn.LayerNorm(dims)

    def _in_time(self, x: Tensor, affinity: nn.Module | None) -> Tensor:
        if affinity is None:
            return x
        maps = patch_map(x, self.frames)
        maps = maps + self.drop_path(affinity(maps))
        return torch.cat((x[:1], rearrange(maps, 'b c t h w -> (h w) (b t) c')))

    def forward(self, x: Tensor) -> Tensor:
        """(L, B T, C) -> the same."""
        x = self._in_time(x, self.lmhra1)
        x = x + self.drop_path(self.attn(self.ln_1(x)))
        x = self._in_time(x, self.lmhra2)
        y: Tensor = x + self.drop_path(self.mlp(self.ln_2(x)))
        return y


class GlobalBlock(nn.Module):
    """Cross-attention of one token of the clip with all tokens of all frames, and feed-forward."""

    def __init__(
        self, dims: int, num_heads: int, mlp_ratio: float, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.attn = MultiheadAttention(dims, num_heads)
        self.ln_1 = nn.LayerNorm(dims)
        self.mlp = feed_forward(dims, round(mlp_ratio * dims), dropout)
        self.ln_2 = nn.LayerNorm(dims)
        self.ln_3 = nn.LayerNorm(dims)
        for last in (self.attn.out_proj, self.mlp.c_proj):
            constant_init(last, 0)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """(1, B, C) and (L T, B, C) -> (1, B, C)."""
        x = x + self.drop_path(self.attn(self.ln_1(x), self.ln_3(tokens)))
        y: Tensor = x + self.drop_path(self.mlp(self.ln_2(x)))
        return y


class Transformer(nn.Module):
    """The local blocks, and the global ones that gather after those of `return_list`.

    `dims` are the channels of the global blocks.
    """

    def __init__(
        self,
        frames: int,
        dims: int,
        local_blocks: Iterable[nn.Module],
        global_blocks: Iterable[nn.Module],
        return_list: Sequence[int],
    ) -> None:
        super().__init__()
        self.frames = frames
        self.return_list = list(return_list)
        self.resblocks = nn.ModuleList(local_blocks)
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.dpe = nn.ModuleList(
            nn.Conv3d(dims, dims, 3, padding=1, groups=dims) for _ in return_list
        )
        for conv in self.dpe:
            nn.init.zeros_(conv.get_parameter('bias'))
        self.dec = nn.ModuleList(global_blocks)
        self.norm = nn.LayerNorm(dims)
        self.balance = nn.Parameter(torch.zeros(dims))

    def forward(self, x: Tensor, run_blocks: Callable[..., Any]) -> Tensor:
        """(L, B T, C) -> (B, C); `run_blocks` is the backbone's."""
        clip = self.temporal_cls_token.repeat(1, x.shape[1] // self.frames, 1)
        gathering = iter(zip(self.dpe, self.dec, strict=True))
        for i, block in enumerate(self.resblocks):
            x = run_blocks([block], x)
            if i in self.return_list:
                positions, gather = next(gathering)
                maps = patch_map(x, self.frames)
                patches = rearrange(maps + positions(maps), 'b c t h w -> (t h w) b c')
                classes = rearrange(x[0], '(b t) c -> t b c', t=self.frames)
                clip = gather(clip, torch.cat((classes, patches)))
        frames = x[0].unflatten(0, (-1, self.frames)).mean(1)
        share = self.balance.sigmoid()
        y: Tensor = self.norm((1 - share) * clip[0] + share * frames)
        return y


@MODELS.register_module()
class UniFormerV2(VideoTransformer):
    """CLIP's image ViT and global blocks over its frames.

    Args:
        input_resolution: Height and width of a clip.
        patch_size: Height and width of a patch.
        width: Channels of the image ViT.
        layers: Blocks of the image ViT.
        heads: Heads of its attention.
        backbone_drop_path_rate: Stochastic depth of its last block.
        t_size: Frames T of a clip.
        kernel_size: Frames that a patch sees with `temporal_downsample`.
        dw_reduction: Divides the channels of the affinity in time.
        temporal_downsample: Whether patches halve the frames.
        no_lmhra: Whether blocks have no affinity in time.
        double_lmhra: Whether they have it before attention and after, or only before.
        return_list: Blocks after which a global block gathers.
        n_layers: Number of global blocks, which is that of `return_list`.
        n_dim: Their channels, which are `width`.
        n_head: Heads of their attention.
        mlp_factor: Hidden channels of their feed-forward, as a multiple of C.
        drop_path_rate: Stochastic depth of the last of them.
        mlp_dropout: Dropout within each one's feed-forward.
        clip_pretrained: Whether `pretrained` is of CLIP.
        kwargs: Arguments of `VideoTransformer`. `pretrained` may be 'ViT-B/16', 'ViT-L/14' or
            'ViT-L/14_336' of CLIP.

    Raises:
        ValueError: Numbers of global blocks that contradict each other.
    """

    cam_layer = 'transformer/resblocks/-1'
    published = WEIGHTS

    def __init__(
        self,
        input_resolution: int = 224,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        backbone_drop_path_rate: float = 0.0,
        t_size: int = 8,
        kernel_size: int = 3,
        dw_reduction: float = 1.5,
        temporal_downsample: bool = False,
        no_lmhra: bool = True,
        double_lmhra: bool = False,
        return_list: Sequence[int] = (8, 9, 10, 11),
        n_layers: int = 4,
        n_dim: int = 768,
        n_head: int = 12,
        mlp_factor: float = 4.0,
        drop_path_rate: float = 0.0,
        mlp_dropout: Sequence[float] = (0.5, 0.5, 0.5, 0.5),
        clip_pretrained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not len(return_list) == n_layers <= len(mlp_dropout):
            raise ValueError(
                f'n_layers={n_layers} global blocks need as many entries in '
                f'return_list={list(return_list)} and in mlp_dropout={list(mlp_dropout)}'
            )
        self.translation = inflate_center if clip_pretrained else None
        self.input_resolution = input_resolution
        kernel, stride = (kernel_size, 2) if temporal_downsample else (1, 1)
        t_size //= stride
        patch, padding = (patch_size, patch_size), ((kernel - 1) // 2, 0, 0)
        self.conv1 = nn.Conv3d(3, width, (kernel, *patch), (stride, *patch), padding, bias=False)
        positions = (input_resolution // patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(positions, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        local = 0 if no_lmhra else 1 + double_lmhra
        local_blocks = (
            LocalBlock(width, heads, t_size, rate, dw_reduction, local)
            for rate in drop_path_rates(backbone_drop_path_rate, layers)
        )
        rates = drop_path_rates(drop_path_rate, n_layers)
        global_blocks = (
            GlobalBlock(n_dim, n_head, mlp_factor, dropout, rate)
            for dropout, rate in zip(mlp_dropout, rates, strict=False)
        )
        self.transformer = Transformer(t_size, n_dim, local_blocks, global_blocks, return_list)

    def token_map(self, tokens: Tensor, _clip_shape: tuple[int, int, int]) -> Tensor:
        """Tokens of a local block (L, B T, C) -> map (B, C, T, H, W) of the patches."""
        return patch_map(tokens, self.transformer.frames)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> (B, C).

        Raises:
            ValueError: Frames of another size or number than the model is made for.
        """
        maps = self.conv1(x)
        T = self.transformer.frames
        if tuple(x.shape[3:]) != (self.input_resolution,) * 2 or maps.shape[2] % T:
            raise ValueError(
                f'UniFormerV2 with input_resolution={self.input_resolution} takes frames of this '
                f'height and width, {T} (or a multiple) in time after the patch embedding, not '
                f'clips of {tuple(x.shape[2:])} (T, H, W)'
            )
        x = rearrange(maps, 'b c t h w -> (h w) (b t) c')
        x = torch.cat((self.class_embedding.expand(1, x.shape[1], -1), x))  # (L, B T, C)
        x = self.ln_pre(x + self.positional_embedding[:, None])
        y: Tensor = self.transformer(x, self.run_blocks)
        return y
