"""The heads of transformers that give one vector of a clip, or its class token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix
from torch import Tensor, nn

from mmaction.registry import MODELS

from .base import ClassifierHead

__all__ = ['MViTHead', 'TimeSformerHead', 'UniFormerHead']


@MODELS.register_module()
class TimeSformerHead(ClassifierHead):
    """Dropout and one linear layer.

    Takes the arguments of `ClassifierHead`; `init_std` is 0.02.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, **{'init_std': 0.02, **kwargs})

    def init_weights(self) -> None:
        """Truncated normal weights, zero bias."""
        nn.init.trunc_normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C) -> logits (N, K)."""
        return self.classify(x)


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


@MODELS.register_module()
class UniFormerHead(TimeSformerHead):
    """`TimeSformerHead` that can start from the head of a model with more classes.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the vector.
        channel_map: JSON file with a list of K numbers: which class of the pretrained
            head each class is.
        init_cfg: Initialization; `dict(type='Pretrained', checkpoint=...)` loads the
            head of that checkpoint by `channel_map`.
        kwargs: Further arguments of `TimeSformerHead`.

    Raises:
        ValueError: A pretrained head without a `channel_map`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        channel_map: str | None = None,
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, **kwargs)
        pretrained = isinstance(init_cfg, dict) and init_cfg['type'] == 'Pretrained'
        if pretrained and channel_map is None:
            raise ValueError(
                'UniFormerHead: init_cfg of type Pretrained needs channel_map, a JSON file with '
                f'the pretrained class of each of the {num_classes} classes'
            )
        self.channel_map = Path(channel_map or '')
        self.pretrained = init_cfg['checkpoint'] if init_cfg and pretrained else None

    def init_weights(self) -> None:
        """Draw the classifier, or take its classes from the pretrained one.

        Raises:
            FileNotFoundError: There is no such `channel_map`.
            ValueError: It does not name one pretrained class for each class.
        """
        if self.pretrained is None:
            super().init_weights()
            return
        if not self.channel_map.is_file():
            raise FileNotFoundError(
                f'there is no channel_map {self.channel_map}: mmaction2 keeps those of '
                'Kinetics-710 in configs/recognition/uniformerv2/k710_channel_map of its repository'
            )
        chosen = json.loads(self.channel_map.read_text(encoding='utf-8'))
        state = _load_checkpoint_with_prefix('cls_head.', self.pretrained, map_location='cpu')
        weight = state['fc_cls.weight']
        if len(chosen) != self.num_classes or not all(0 <= i < len(weight) for i in chosen):
            raise ValueError(
                f'{self.channel_map} lists {len(chosen)} classes; it must list {self.num_classes}, '
                f'each from 0 to {len(weight) - 1}, the classes of {self.pretrained}'
            )
        self.load_state_dict({name: value[chosen] for name, value in state.items()})
        taken = f'Took {len(chosen)} of {len(weight)} classes from {self.pretrained}'
        print_log(taken, logger='current')
