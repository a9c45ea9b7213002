"""The head of frame-wise models: the mean of what is said of the frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import BaseHead


@MODELS.register_module()
class TSNHead(BaseHead):
    """Average over the grid, mean over the frames, dropout, one linear layer.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature maps.
        loss_cls: Config of the loss.
        dropout_ratio: Dropout before the classifier.
        init_std: Standard deviation of the classifier's first weights.
        kwargs: Further arguments of `BaseHead`.

    Source: arXiv:1608.00859, with the mean as consensus.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        dropout_ratio: float = 0.4,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        """Normal weights, zero bias."""
        nn.init.normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, num_segs: int = 1, **kwargs: Any) -> Tensor:
        """(N * num_segs, C, H, W) -> logits (N, K)."""
        x = x.flatten(2).mean(2).unflatten(0, (-1, num_segs)).mean(1)
        return self.fc_cls(x if self.dropout is None else self.dropout(x))
