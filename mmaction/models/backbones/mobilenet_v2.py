"""MobileNetV2 on frames, with and without temporal shift.

Shapes: N videos of T segments, one frame each; frames (N*T, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmaction.models.common.cnn import CNNBackbone
from mmaction.models.common.layers import ConvModule, ResidualBlock, divisible
from mmaction.registry import MODELS

from .resnet_tsm import TemporalShift

__all__ = ['InvertedResidual', 'MobileNetV2', 'MobileNetV2TSM']

# expansion, channels, blocks, stride of each stage
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(ResidualBlock):
    """1x1 to many channels, 3x3 in each of them, 1x1 to few."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expand_ratio: int, **layers: Any
    ) -> None:
        super().__init__()
        self.use_res_connect = stride == 1 and in_channels == out_channels
        hidden = in_channels * expand_ratio
        expand = [ConvModule(in_channels, hidden, 1, **layers)] if expand_ratio != 1 else []
        self.conv = nn.Sequential(
            *expand,
            ConvModule(hidden, hidden, 3, stride, groups=hidden, **layers),
            ConvModule(hidden, out_channels, 1, **{**layers, 'act_cfg': None}),
        )
        self.relu = nn.Identity()

    def _sum(self, x: Tensor, *inserted: nn.Module) -> Tensor:
        return super()._sum(x) if self.use_res_connect else self.conv(x)


@MODELS.register_module()
class MobileNetV2(CNNBackbone):
    """MobileNetV2, frame by frame.

    Args:
        pretrained: As in `CNNBackbone`, in the names of this network.
        widen_factor: Factor of all widths.
        out_indices: Stages whose outputs are given, 0 to 7 (the last convolution).
        kwargs: Further arguments of `CNNBackbone`; `norm_cfg` is BN2d and `act_cfg` ReLU6 here.

    Raises:
        ValueError: A stage that there is not.

    Source: arXiv:1801.04381.
    """

    stem_names = ('conv1',)
    conv_types = (nn.Conv2d,)

    def __init__(
        self,
        pretrained: str | None = None,
        widen_factor: float = 1.0,
        out_indices: Sequence[int] = (7,),
        **kwargs: Any,
    ) -> None:
        defaults = dict(norm_cfg=dict(type='BN2d'), act_cfg=dict(type='ReLU6', inplace=True))
        super().__init__(pretrained, **{**defaults, **kwargs})
        if not set(out_indices) <= set(range(8)) or self.frozen_stages not in range(-1, 9):
            raise ValueError(
                f'out_indices={tuple(out_indices)} must be within 0 to 7, '
                f'frozen_stages={self.frozen_stages} within -1 to 8'
            )
        self.out_indices = tuple(out_indices)
        layers = dict(self.layer_cfgs, bias='auto')
        wide = divisible(32 * widen_factor)
        self.conv1 = ConvModule(3, wide, 3, 2, **layers)
        for expand_ratio, channels, count, stride in STAGES:
            out = divisible(channels * widen_factor)
            sizes = [(wide, out, stride)] + [(out, out, 1)] * (count - 1)
            self.add_stage([InvertedResidual(*size, expand_ratio, **layers) for size in sizes])
            wide = out
        self.conv2 = ConvModule(wide, int(1280 * max(widen_factor, 1.0)), 1, **layers)
        self.res_layers.append('conv2')


@MODELS.register_module()
class MobileNetV2TSM(MobileNetV2):
    """MobileNetV2 with a temporal shift in each block that has a shortcut.

    Args:
        num_segments: Frames T of a video.
        is_shift: Whether to shift at all.
        shift_div: Channels over those that move each way.
        pretrained2d: Whether `pretrained` is of `MobileNetV2`.
        kwargs: Further arguments of `MobileNetV2`.
    """

    def __init__(
        self,
        num_segments: int = 8,
        is_shift: bool = True,
        shift_div: int = 8,
        pretrained2d: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pretrained2d = pretrained2d
        self.num_segments = num_segments
        for module in list(self.modules()) if is_shift else ():
            if not isinstance(module, InvertedResidual) or not module.use_res_connect:
                continue
            if len(module.conv) == 3:
                module.conv[0] = TemporalShift(module.conv[0], num_segments, shift_div)
