"""The head of MViT."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.registry import MODELS

from .timesformer_head import TimeSformerHead

__all__ = ['MViTHead']


@MODELS.register_module()
class MViTHead(TimeSformerHead):
    """`TimeSformerHead` on the class token of the last scale, or on its pooled map.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the last scale.
        init_scale: Factor of the classifier's first weights and bias.
        with_cls_token: Whether the backbone gives class tokens.
        kwargs: Further arguments of `TimeSformerHead`; `dropout_ratio` is 0.5 here.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        init_scale: float = 1.0,
        with_cls_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, **{'dropout_ratio': 0.5, **kwargs})
        self.init_scale = init_scale
        self.with_cls_token = with_cls_token

    def init_weights(self) -> None:
        """Truncated normal weights and a bias of 0.02, both scaled."""
        super().init_weights()
        self.fc_cls.weight.data.mul_(self.init_scale)
        nn.init.constant_(self.fc_cls.bias, 0.02 * self.init_scale)

    def forward(self, x: Any, **kwargs: Any) -> Tensor:
        """Output of each scale, (map, class token) or a map (N, C, T, H, W) -> logits (N, K)."""
        last = x[-1]
        return super().forward(last[1] if self.with_cls_token else last.mean((2, 3, 4)))
