"""The head of transformers that give one vector of a clip: TimeSformer and VideoMAE."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import BaseHead

__all__ = ['TimeSformerHead']


@MODELS.register_module()
class TimeSformerHead(BaseHead):
    """Dropout and one linear layer.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the vector.
        loss_cls: Config of the loss.
        init_std: Standard deviation of the classifier's first weights.
        dropout_ratio: Dropout before the classifier.
        kwargs: Further arguments of `BaseHead`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        init_std: float = 0.02,
        dropout_ratio: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        """Truncated normal weights, zero bias."""
        nn.init.trunc_normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C) -> logits (N, K)."""
        scores: Tensor = self.fc_cls(x if self.dropout is None else self.dropout(x))
        return scores
