"""What the video transformers of mmaction2 share, under its parameter names.

Shapes: B clips (or frames, or windows), N tokens, C channels, h heads, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmaction.models.utils.attention_ops import attention
from mmaction.models.utils.linear_cpu import linear

from .pretrained import Translation, load_pretrained

__all__ = [
    'Attention',
    'MultiheadAttention',
    'PatchTransformer',
    'Size3',
    'VideoTransformer',
    'check_keys',
    'drop_path_rates',
]

Size3 = tuple[int, int, int]

# The random weights that most of these backbones start from
TRUNCATED_NORMAL = [
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
]


class VideoTransformer(BaseModule):
    """Base of the video transformers.

    Args:
        pretrained: Checkpoint that `init_weights` loads, or a name of `published`.
        with_cp: Compute blocks again in the backward pass to save memory.
        init_cfg: Initialization, as in mmengine.

    What subclasses take under the same names means the same:
        in_channels: Channels of a clip.
        mlp_ratio: Hidden channels of the feed-forward, as a multiple of its input's.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the products of queries and keys; 1 / sqrt(d) if None.
        drop_rate: Dropout before the blocks and within them.
        attn_drop_rate: Dropout of the attention weights.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0.
        norm_cfg: Config of the norms.
    """

    # Addresses of checkpoints
    published: Mapping[str, str] = {}
    # What brings the weights of `pretrained` to the names and shapes of this network
    translation: Translation | None = None

    def __init__(
        self,
        pretrained: str | None = None,
        with_cp: bool = False,
        init_cfg: Any = TRUNCATED_NORMAL,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.pretrained = pretrained
        self.with_cp = with_cp

    def init_weights(self) -> None:
        """Draw the weights, or load `pretrained`.

        Raises:
            CheckpointError: It cannot be read or fetched, or is of another network.
        """
        if self.pretrained:
            source = self.published.get(self.pretrained, self.pretrained)
            load_pretrained(self, source, self.translation)
        else:
            super().init_weights()

    def run_blocks(self, blocks: Iterable[nn.Module], x: object) -> Any:
        """Blocks one after the other, each on what the one before gives.

        With `with_cp`, what is within a block is computed again in the backward pass, instead of
        being kept. A block with BatchNorm is kept: its statistics must move once.
        """
        for block in blocks:
            again = self.with_cp and block.training and torch.is_grad_enabled()
            if again and not any(isinstance(module, _BatchNorm) for module in block.modules()):
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class PatchTransformer(VideoTransformer):
    """Base of those whose tokens are patches of clips, by the convolution of `patch_embed`."""

    patch_embed: Any

    def patch_grid(self, clip_shape: Iterable[int]) -> Size3:
        """The grid (T, H, W) of patches of clips (T', H', W')."""
        conv = self.patch_embed.projection
        axes = zip(clip_shape, conv.kernel_size, conv.stride, conv.padding, strict=True)
        t, h, w = ((size + 2 * pad - kernel) // step + 1 for size, kernel, step, pad in axes)
        return t, h, w

    def embed_patches(self, x: Tensor) -> tuple[Tensor, Size3]:
        """Clips (B, c, T', H', W') -> tokens (B, N, C) and their grid."""
        maps = self.patch_embed(x)
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[2:])

    def token_map(self, tokens: Tensor, clip_shape: Size3) -> Tensor:
        """Tokens of a block (B, N, C), of clips (T', H', W') -> map (B, C, T, H, W).

        Blocks may have halved the grid; what stands before the patches is left out.
        """
        t, h, w = self.patch_grid(clip_shape)
        while t * h * w > tokens.shape[1]:
            h, w = -(-h // 2), -(-w // 2)
        return torch.unflatten(tokens[:, -t * h * w :].transpose(1, 2), 2, (t, h, w))


def check_keys(arch: str | Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Any:
    """The settings of an architecture that is given by its name or as a dict.

    Raises:
        ValueError: The name is unknown, or the dict lacks a key.
    """
    if isinstance(arch, str):
        if arch.lower() not in known:
            raise ValueError(f'arch={arch!r} is none of {sorted(known)}; a dict of sizes works too')
        return known[arch.lower()]
    missing = sorted(set(next(iter(known.values()))) - set(arch))
    if missing:
        raise ValueError(f'arch={dict(arch)} lacks {missing}')
    return arch


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Stochastic depth of each block: from 0 at the first to `rate` at the last."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


class Attention(nn.Module):
    """Self-attention of all tokens with one another.

    Without `key_bias` (which changes no attention weight) the biases of queries and values
    are parameters `q_bias` and `v_bias`, as in BEiT. `qk_scale` is the factor of the products
    of queries and keys, 1 / sqrt(d) if None.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        key_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale or None
        self.attn_drop = attn_drop
        if qkv_bias and not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(dims))
            self.v_bias = nn.Parameter(torch.zeros(dims))
        self.qkv = nn.Linear(dims, dims * 3, bias=qkv_bias and key_bias)
        self.proj = nn.Linear(dims, dims)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        bias: Tensor | None = self.qkv.bias
        if hasattr(self, 'q_bias'):
            bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, h, N, d)
        drop = self.attn_drop if self.training else 0.0
        x = attention(q, k, v, dropout_p=drop, scale=self.scale)
        x = x.transpose(1, 2).flatten(2)  # (B, h, N, d) -> (B, N, C)
        y: Tensor = self.proj_drop(self.proj(x))
        return y


class MultiheadAttention(nn.MultiheadAttention):
    """Parameters as PyTorch's, computed as that of the other networks.

    `batch_first` says that tokens are (B, N, C), not (N, B, C).
    """

    def __init__(self, dims: int, num_heads: int, batch_first: bool = False) -> None:
        super().__init__(dims, num_heads, batch_first=batch_first)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Attention of tokens with those of `context`, or with one another.

        Both are (B, N, C) with `batch_first`, else (N, B, C), and so is the result.
        """
        weight, bias, C = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if context is None:
            q, k, v = self._heads(linear(x, weight, bias), 3)
        else:
            (q,) = self._heads(linear(x, weight[:C], bias[:C]), 1)
            k, v = self._heads(linear(context, weight[C:], bias[C:]), 2)
        y = attention(q, k, v)  # (B, h, N, d)
        y = y.transpose(1, 2) if self.batch_first else y.permute(2, 0, 1, 3)
        out: Tensor = self.out_proj(y.flatten(2))
        return out

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """Projections side by side -> (parts, B, h, N, d)."""
        x = x.unflatten(-1, (parts, self.num_heads, -1))
        return x.permute(2, 0, 3, 1, 4) if self.batch_first else x.permute(2, 1, 3, 0, 4)
