"""The I3D head: average over space and time, dropout, one linear layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import BaseHead


@MODELS.register_module()
class I3DHead(BaseHead):
    """Classifier on the pooled feature map.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature map.
        loss_cls: Config of the loss.
        spatial_type: 'avg' pools the map; with anything else it comes pooled.
        dropout_ratio: Dropout before the classifier.
        init_std: Standard deviation of the classifier's first weights.
        kwargs: Further arguments of `BaseHead`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        spatial_type: str = 'avg',
        dropout_ratio: float = 0.5,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        self.spatial_type = spatial_type
        self.dropout_ratio = dropout_ratio
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc_cls = nn.Linear(in_channels, num_classes)
        self.avg_pool = nn.AdaptiveAvgPool3d(1) if spatial_type == 'avg' else None

    def init_weights(self) -> None:
        """Normal weights, zero bias."""
        nn.init.normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W) -> logits (N, K)."""
        if self.avg_pool is not None:
            x = self.avg_pool(x)
        if self.dropout is not None:
            x = self.dropout(x)
        return self.fc_cls(x.flatten(1))
