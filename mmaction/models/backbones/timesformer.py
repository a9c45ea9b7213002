"""TimeSformer: a ViT whose attention over time and space is divided, joint, or spatial alone.

Bertasius, Wang, Torresani: "Is Space-Time Attention All You Need for Video Understanding?",
arXiv:2102.05095. Parameter names are those of mmaction2 1.2, where mmcv's transformer layers
hold attentions, feed-forwards and norms in lists.

Shapes: B clips, T frames, P patches of a frame, C channels. Tokens are (B, 1 + P T, C): a
class token, then the patches, of which those of one place follow each other in time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from mmengine.model import constant_init, kaiming_init
from torch import Tensor, nn

from mmaction.models.common.layers import LN, build_norm_layer, feed_forward, named, to_frames
from mmaction.models.common.transformer import (
    MultiheadAttention,
    VideoTransformer,
    drop_path_rates,
)
from mmaction.registry import MODELS

from .dualformer_blocks import DropPath

__all__ = [
    'Attention',
    'Block',
    'FeedForward',
    'SpaceAttention',
    'TimeAttention',
    'TimeSformer',
    'divide_attention',
]

ATTENTION_TYPES = ('divided_space_time', 'space_only', 'joint_space_time')


class Attention(nn.Module):
    """Attention among all tokens; subclasses know the number of frames, and have a norm before it.

    What this gives, like all parts of a block, is added to its input.
    """

    def __init__(self, dims: int, num_heads: int, drop_path: float, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.norm = nn.LayerNorm(dims, eps=1e-6) if frames else nn.Identity()
        self.attn = MultiheadAttention(dims, num_heads, batch_first=True)
        self.dropout_layer = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = self.norm(x)
        y: Tensor = self.dropout_layer(self.attn(x))
        return y


class TimeAttention(Attention):
    """Attention of each place with itself at other times; the class token passes by."""

    def __init__(self, dims: int, num_heads: int, drop_path: float, frames: int) -> None:
        super().__init__(dims, num_heads, drop_path, frames)
        # Zero at first: a ViT's weights then give what they give frames one by one.
        self.temporal_fc = nn.Linear(dims, dims)
        constant_init(self.temporal_fc, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + P T, C) -> the same, zero for the class token."""
        places = x[:, 1:].unflatten(1, (-1, self.frames)).flatten(0, 1)  # (B P, T, C)
        changes = self.temporal_fc(super().forward(places))
        return F.pad(changes.reshape(x[:, 1:].shape), (0, 0, 1, 0))


class SpaceAttention(Attention):
    """Attention within each frame and the class token, whose results of all frames are averaged."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + P T, C) -> the same."""
        frames = rearrange(x[:, 1:], 'b (p t) c -> (b t) p c', t=self.frames)
        classes = x[:, :1].repeat_interleave(self.frames, 0)  # (B T, 1, C)
        frames = super().forward(torch.cat((classes, frames), 1))
        patches = rearrange(frames[:, 1:], '(b t) p c -> b (p t) c', t=self.frames)
        classes = frames[:, 0].unflatten(0, (-1, self.frames)).mean(1, keepdim=True)
        return torch.cat((classes, patches), 1)


class FeedForward(nn.Module):
    """Feed-forward with stochastic depth and, in divided blocks, a norm before it."""

    def __init__(self, dims: int, drop_path: float, normed: bool) -> None:
        super().__init__()
        self.layers = feed_forward(dims, 4 * dims)
        self.dropout_layer = DropPath(drop_path)
        self.norm = nn.LayerNorm(dims, eps=1e-6) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        y: Tensor = self.dropout_layer(self.layers(self.norm(x)))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and around a shortcut.

    Of `frames`, attention is over time, then over space, and the norms are within these parts;
    with 0 frames it is one over all tokens, and the norms are in a list of their own.
    """

    def __init__(self, dims: int, num_heads: int, drop_path: float, frames: int) -> None:
        super().__init__()
        kinds = (TimeAttention, SpaceAttention) if frames else (Attention,)
        self.attentions = nn.ModuleList(k(dims, num_heads, drop_path, frames) for k in kinds)
        self.ffns = nn.ModuleList([FeedForward(dims, drop_path, normed=frames > 0)])
        norms = () if frames else (nn.LayerNorm(dims, eps=1e-6) for _ in range(2))
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        for i, part in enumerate((*self.attentions, *self.ffns)):
            x = x + part(self.norms[i](x) if self.norms else x)
        return x


@MODELS.register_module()
class TimeSformer(VideoTransformer):
    """ViT over the patches of frames.

    Args:
        num_frames: Frames T of a clip.
        img_size: Height and width of a frame.
        patch_size: Height and width of a patch.
        pretrained: Checkpoint that `init_weights` loads, one of an image ViT or of a
            TimeSformer. Divided attention over time starts from that over space.
        embed_dims: Channels C.
        num_heads: Heads of each attention.
        num_transformer_layers: Number of blocks.
        in_channels: Channels of a clip.
        dropout_ratio: Dropout after the position and after the time codes.
        transformer_layers: Only None: the blocks follow from `attention_type`.
        attention_type: 'divided_space_time', 'joint_space_time' or 'space_only'
            (frames one by one, their class tokens averaged).
        norm_cfg: Config of the last norm.
        kwargs: Further arguments of `VideoTransformer`.

    Raises:
        ValueError: Unknown `attention_type`, custom `transformer_layers`, or patches
            that do not tile the frame.
    """

    # After the last block, the class token alone counts.
    cam_layer = 'transformer_layers/layers/-2'

    def __init__(
        self,
        num_frames: int,
        img_size: int,
        patch_size: int,
        pretrained: str | None = None,
        embed_dims: int = 768,
        num_heads: int = 12,
        num_transformer_layers: int = 12,
        in_channels: int = 3,
        dropout_ratio: float = 0.0,
        transformer_layers: None = None,
        attention_type: str = 'divided_space_time',
        norm_cfg: dict[str, Any] = LN,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, **{'init_cfg': None, **kwargs})
        if attention_type not in ATTENTION_TYPES:
            raise ValueError(f'attention_type={attention_type!r} is none of {ATTENTION_TYPES}')
        if transformer_layers is not None:
            raise ValueError('TimeSformer takes no transformer_layers: set attention_type instead')
        if img_size % patch_size:
            raise ValueError(f'img_size={img_size} is no multiple of patch_size={patch_size}')
        self.num_frames = num_frames
        self.img_size = img_size
        self.attention_type = attention_type
        divided = attention_type == 'divided_space_time'
        self.translation = divide_attention if divided else None
        projection = nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)
        kaiming_init(projection, mode='fan_in', nonlinearity='linear')
        self.patch_embed = named(projection=projection)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        positions = (img_size // patch_size) ** 2 + 1
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dims))
        self.drop_after_pos = nn.Dropout(dropout_ratio)
        if attention_type != 'space_only':
            self.time_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dims))
            self.drop_after_time = nn.Dropout(dropout_ratio)
        self.norm = build_norm_layer(norm_cfg, embed_dims)
        blocks = nn.ModuleList(
            Block(embed_dims, num_heads, rate, num_frames if divided else 0)
            for rate in drop_path_rates(0.1, num_transformer_layers)
        )
        self.transformer_layers = nn.ModuleDict(dict(layers=blocks))

    def init_weights(self) -> None:
        """Draw the position codes and the class token, and load `pretrained`."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        super().init_weights()

    def token_map(self, tokens: Tensor, _clip_shape: tuple[int, int, int]) -> Tensor:
        """Tokens of a block -> map (B, C, T, H, W) of the patches."""
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        form = '(b t) (h w) c' if self.attention_type == 'space_only' else 'b (h w t) c'
        sizes = dict(h=side, w=side, t=self.num_frames)
        return rearrange(tokens[:, 1:], f'{form} -> b c t h w', **sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, c, T, H, W) -> class tokens (B, C).

        Raises:
            ValueError: Clips of other sizes than the model is made for.
        """
        if tuple(x.shape[2:]) != (self.num_frames, self.img_size, self.img_size):
            raise ValueError(
                f'TimeSformer with num_frames={self.num_frames} and img_size={self.img_size} '
                f'takes clips of these sizes, not {tuple(x.shape[2:])} (T, H, W)'
            )
        T = self.num_frames
        x = self.patch_embed(to_frames(x)).flatten(2).transpose(1, 2)  # (B T, P, C)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1)
        x = self.drop_after_pos(x + self.pos_embed)  # (B T, 1 + P, C)
        if self.attention_type != 'space_only':
            patches = rearrange(x[:, 1:], '(b t) p c -> b p t c', t=T)
            patches = self.drop_after_time(patches + self.time_embed).flatten(1, 2)
            # Before the first block, frames differ in their patches alone.
            x = torch.cat((x[::T, :1], patches), 1)
        x = self.run_blocks(self.transformer_layers['layers'].children(), x)
        if self.attention_type == 'space_only':
            x = x.unflatten(0, (-1, T)).mean(1)
        y: Tensor = self.norm(x)[:, 0]
        return y


def divide_attention(state: dict[str, Tensor], _model: nn.Module) -> dict[str, Tensor]:
    """Weights of a ViT (names of a joint block) under the names of divided blocks.

    Attention over time and over space both start from the ViT's, with its norm.
    """
    renamed = {
        name.replace('norms.0', 'attentions.0.norm').replace('norms.1', 'ffns.0.norm'): value
        for name, value in state.items()
    }
    return renamed | {
        name.replace('attentions.0', 'attentions.1'): value
        for name, value in renamed.items()
        if 'attentions.0' in name
    }
