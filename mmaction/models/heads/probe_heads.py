"""Heads that probe what frozen features know: linear, attentive, and by nearest neighbors.

All take what any backbone gives: vectors, maps of clips, and maps of frames.

Shapes: N clips, C channels, (T, H, W) grid of the feature map, L tokens, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import BaseHead, ClassifierHead

__all__ = ['AttentiveHead', 'KNNHead', 'LinearHead']


def _tokens(x: Tensor, num_segs: int | None) -> Tensor:
    """(N, C), (N, C, T, H, W) or frames (N num_segs, C, H, W) -> (N, L, C)."""
    if x.ndim == 4:
        x = x.unflatten(0, (-1, num_segs or 1)).transpose(1, 2)
    return x[:, None] if x.ndim == 2 else x.flatten(2).mT


@MODELS.register_module()
class LinearHead(ClassifierHead):
    """One linear layer on the mean of the tokens.

    Takes the arguments of `ClassifierHead`.
    """

    def forward(self, x: Tensor, num_segs: int | None = None, **kwargs: Any) -> Tensor:
        """(N, C), (N, C, T, H, W) or frames (N num_segs, C, H, W) -> logits (N, K)."""
        return self.classify(_tokens(x, num_segs).mean(1))


@MODELS.register_module()
class AttentiveHead(BaseHead):
    """One learned query attends to all tokens; a feed-forward and a linear layer follow.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the tokens.
        loss_cls: Config of the loss.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden channels of the feed-forward, as a multiple of C.
        init_std: Standard deviation of the first weights.
        kwargs: Further arguments of `BaseHead`.

    Source: the attentive probe of Assran et al., "V-JEPA 2", arXiv:2506.09985, without the
    blocks of self-attention before its cross-attention.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        init_std: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        if in_channels % num_heads:
            raise ValueError(f'in_channels={in_channels} is no multiple of num_heads={num_heads}')
        self.num_heads, self.init_std = num_heads, init_std
        hidden = int(in_channels * mlp_ratio)
        self.query = nn.Parameter(torch.zeros(1, 1, in_channels))
        self.norm1 = nn.LayerNorm(in_channels)
        self.q = nn.Linear(in_channels, in_channels)
        self.kv = nn.Linear(in_channels, 2 * in_channels)
        self.proj = nn.Linear(in_channels, in_channels)
        self.norm2 = nn.LayerNorm(in_channels)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, in_channels)
        )
        self.fc_cls = nn.Linear(in_channels, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Truncated normal weights, zero biases."""
        nn.init.trunc_normal_(self.query, std=self.init_std)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=self.init_std)
                nn.init.zeros_(part.bias)

    def pool(self, tokens: Tensor) -> Tensor:
        """(N, L, C) -> (N, C), what the query has gathered."""
        tokens = self.norm1(tokens)
        query = self.query.expand(tokens.shape[0], -1, -1)
        k, v = self.kv(tokens).chunk(2, -1)
        q, k, v = (
            y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in (self.q(query), k, v)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (N, 1, C)
        y = query + self.proj(y)
        y = y + self.mlp(self.norm2(y))
        pooled: Tensor = y[:, 0]
        return pooled

    def forward(self, x: Tensor, num_segs: int | None = None, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W), or frames (N num_segs, C, H, W) -> logits (N, K)."""
        scores: Tensor = self.fc_cls(self.pool(_tokens(x, num_segs)))
        return scores


@MODELS.register_module()
class KNNHead(BaseHead):
    """The classes of the nearest clips of a bank, by the cosine of pooled features.

    Each of the k nearest votes for its class with exp(cosine / temperature). Nothing is trained:
    `remember` fills the bank, which is part of the state dict.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C.
        bank_size: Clips M of the bank.
        k: Neighbors that vote.
        temperature: How much nearer ones count more.
        kwargs: Further arguments of `BaseHead`.

    Source: Wu et al., arXiv:1805.01978, section 3.4.
    """

    bank: Tensor
    bank_labels: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        bank_size: int,
        k: int = 20,
        temperature: float = 0.07,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        if k < 1 or temperature <= 0:
            raise ValueError(f'k={k} must be at least 1 and temperature={temperature} above 0')
        self.k, self.temperature = k, temperature
        self.register_buffer('bank', torch.zeros(bank_size, in_channels))
        self.register_buffer('bank_labels', torch.zeros(bank_size, dtype=torch.int64))

    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Fill the bank.

        Args:
            features: (M, C).
            labels: (M,).
        """
        self.bank.copy_(F.normalize(features.float(), dim=1))
        self.bank_labels.copy_(labels)

    def forward(self, x: Tensor, num_segs: int | None = None, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W), or frames (N num_segs, C, H, W) -> logarithms of shares (N, K)."""
        features = F.normalize(_tokens(x, num_segs).mean(1).float(), dim=1)
        near, index = (features @ self.bank.T).topk(min(self.k, len(self.bank)), 1)
        votes = (near / self.temperature).softmax(1)
        shares = votes.new_zeros(len(votes), self.num_classes)
        shares.scatter_add_(1, self.bank_labels[index], votes)
        return shares.clamp(min=1e-8).log()
