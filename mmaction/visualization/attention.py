"""Where the tokens of a DualFormer block look: its attention as a map over time and space.

The weights are worked out from a block's input and its parameters, in plain steps, so
that the model itself never has to hold them.

Shapes: B clips, (T, H, W) the grid of a stage, C channels, h heads, d channels of a head,
L tokens of a window, M tokens of the pyramid, N queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_maps import find_layer

__all__ = ['attention_blocks', 'attention_saliency']

Size3 = tuple[int, int, int]


def attention_blocks(model: nn.Module) -> dict[str, str]:
    """The paths of the last block of each kind: {'local windows': ..., 'global pyramid': ...}.

    Raises:
        ValueError: The backbone is no DualFormer.
    """
    found: dict[str, str] = {}
    backbone = model.backbone
    for i, stage in enumerate(getattr(backbone, 'blocks', ())):
        for j, block in enumerate(stage if isinstance(stage, nn.ModuleList) else ()):
            kind = _kind(block)
            if kind is not None:
                found[kind] = f'backbone/blocks/{i}/{j}'
    if not found:
        raise ValueError(_no_attention(f'the backbone {type(backbone).__name__}'))
    return dict(sorted(found.items(), reverse=True))  # local windows first


def _kind(block: nn.Module) -> str | None:
    attn = getattr(block, 'attn', None)
    if not hasattr(block, 'norm1') or not hasattr(attn, 'num_heads'):
        return None
    if hasattr(attn, 'qkv') and hasattr(attn, 'window'):
        return 'local windows'
    return 'global pyramid' if hasattr(attn, 'q') and hasattr(attn, 'kv') else None


def _no_attention(what: str) -> str:
    return f'{what} has no attention that can be shown: attention maps take a block of DualFormer'


@torch.no_grad()
def attention_saliency(
    model: nn.Module,
    data: Mapping[str, Any],
    layer_name: str,
    query: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Size3]:
    """How much attention each token of a block's grid gets, as the mean over heads and queries.

    The weight of a cell of the pyramid is shared evenly by the tokens that it pools, and
    its two levels are added. So a map sums to 1, and 1 / (T H W) everywhere would be no
    preference at all.

    Args:
        model: A recognizer with a DualFormer, in evaluation mode.
        data: Batch as a dataloader gives it.
        layer_name: Path of the block, such as 'backbone/blocks/-1/-1'.
        query: Time, row and column of the one token whose attention is shown; the
            mean of all tokens if None.

    Returns:
        Maps (B, T, H, W), logits (B, K), and (frames, height, width) of the clips.

    Raises:
        ValueError: There is no such block, or the query lies outside its grid.
    """
    layer_name, block = find_layer(model, layer_name)
    kind = _kind(block)
    if kind is None:
        raise ValueError(_no_attention(layer_name))
    seen: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    preprocess: Any = model.data_preprocessor
    batch = preprocess(data, False)
    try:
        logits = model(batch['inputs'], batch['data_samples'], mode='tensor', stage='head')
    finally:
        handle.remove()
    inner: Any = block
    tokens = inner.norm1(seen[0]).float()
    grid: Size3 = tuple(tokens.shape[1:4])
    asks = _queries(grid, query, layer_name).to(tokens.device)
    received = _windows if kind == 'local windows' else _pyramid
    return received(inner.attn, tokens, asks), logits, tuple(batch['inputs'].shape[-3:])


def _queries(grid: Size3, query: Sequence[int] | None, layer_name: str) -> Tensor:
    """The share (T, H, W) that each query has in the mean; they sum to 1."""
    if query is None:
        return torch.full(grid, 1 / torch.Size(grid).numel())
    if len(query) != 3 or not all(0 <= q < n for q, n in zip(query, grid, strict=False)):
        raise ValueError(
            f'query {tuple(query)} is no token (time, row, column) of {layer_name}, whose grid '
            f'is {grid}; counting starts at 0'
        )
    asks = torch.zeros(grid)
    asks[tuple(query)] = 1.0
    return asks


def _weights(attn: Any, q: Tensor, k: Tensor, real: Tensor | None = None) -> Tensor:
    """Softmax of the scaled products, mean over heads: (..., N, C), (..., M, C) -> (..., N, M).

    `real` (..., M) says which keys there are.
    """
    q, k = (x.unflatten(-1, (attn.num_heads, -1)).transpose(-2, -3) for x in (q, k))
    scale = q.shape[-1] ** -0.5 if attn.scale is None else attn.scale
    logits = (q * scale) @ k.transpose(-1, -2)
    if real is not None:
        logits = logits.masked_fill(~real[..., None, None, :], -torch.inf)
    weights: Tensor = logits.softmax(-1).mean(-3)
    return weights


def _cells(x: Tensor, size: Size3) -> Tensor:
    """(B, T, H, W, C) -> (B, cells, tokens of a cell, C), with zeros where the grid ends."""
    B, T, H, W, C = x.shape
    t, h, w = size
    x = F.pad(x, (0, 0, 0, -W % w, 0, -H % h, 0, -T % t))
    x = x.unflatten(3, (-1, w)).unflatten(2, (-1, h)).unflatten(1, (-1, t))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(B, -1, t * h * w, C)


def _from_cells(x: Tensor, size: Size3, grid: Size3) -> Tensor:
    """(B, cells, tokens of a cell) -> (B, T, H, W); the inverse of `_cells`."""
    counts = [-(-n // s) for n, s in zip(grid, size, strict=True)]
    x = x.reshape(-1, *counts, *size).permute(0, 1, 4, 2, 5, 3, 6)
    x = x.reshape(len(x), *(c * s for c, s in zip(counts, size, strict=True)))
    return x[:, : grid[0], : grid[1], : grid[2]]


def _grid(tokens: Tensor) -> Size3:
    """(T, H, W) of tokens (B, T, H, W, C)."""
    _, t, h, w, _ = tokens.shape
    return t, h, w


def _windows(attn: Any, tokens: Tensor, asks: Tensor) -> Tensor:
    """What each token gets from the queries of its own window, (B, T, H, W)."""
    grid = _grid(tokens)
    t, h, w = (min(side, n) for side, n in zip(attn.window, grid, strict=True))
    size = (t, h, w)
    q, k, _ = attn.qkv(_cells(tokens, size)).chunk(3, -1)
    real = _cells(torch.ones_like(tokens[:1, ..., :1]), size)[..., 0] > 0
    asked = _cells(asks[None, ..., None], size)[..., 0]
    return _from_cells((asked[..., None] * _weights(attn, q, k, real)).sum(-2), size, grid)


def _pyramid(attn: Any, tokens: Tensor, asks: Tensor) -> Tensor:
    """What each token gets through the levels of the pyramid, (B, T, H, W)."""
    grid = _grid(tokens)
    levels: list[tuple[Tensor, Size3]] = []
    if attn.sr is not None:
        levels.append((_pool(tokens, attn.sr), _kernel(attn.sr)))
        if attn.lr is not None:
            first, batch_norm, _, second = attn.lr
            middle = batch_norm(_pool(tokens, first).movedim(-1, 1)).relu().movedim(1, -1)
            sizes = zip(_kernel(first), _kernel(second), strict=True)
            t, h, w = (a * b for a, b in sizes)
            levels.append((_pool(middle, second), (t, h, w)))
        keys = attn.norm(torch.cat([level.flatten(1, 3) for level, _ in levels], 1))
    else:
        levels.append((tokens, (1, 1, 1)))
        keys = tokens.flatten(1, 3)
    k = attn.kv(keys).chunk(2, -1)[0]
    weights = _weights(attn, attn.q(tokens.flatten(1, 3)), k)
    received = (asks.flatten()[:, None] * weights).sum(-2)  # (B, M)
    saliency = torch.zeros_like(tokens[..., 0])
    ones = torch.ones_like(tokens[:1, ..., :1])
    parts = received.split([level[0, ..., 0].numel() for level, _ in levels], -1)
    for part, size in zip(parts, (size for _, size in levels), strict=True):
        real = _cells(ones, size)[..., 0]  # (1, cells, tokens of a cell)
        shared = part[..., None] * real / real.sum(-1, keepdim=True)
        saliency = saliency + _from_cells(shared, size, grid)
    return saliency


def _kernel(conv: Any) -> Size3:
    return tuple(conv.weight.shape[2:])


def _pool(x: Tensor, conv: Any) -> Tensor:
    """Weighted sum of each cell, channel by channel, (B, T, H, W, C) -> (B, t, h, w, C)."""
    size = _kernel(conv)
    counts = [-(-n // s) for n, s in zip(x.shape[1:4], size, strict=True)]
    weight = conv.weight.flatten(1).t()  # (tokens of a cell, C)
    y: Tensor = ((_cells(x, size) * weight).sum(2) + conv.bias).unflatten(1, counts)
    return y
