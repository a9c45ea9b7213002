"""X3D: a small network, grown along one axis at a time.

Shapes: clips (N, C, T, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmaction.models.common.cnn import DEFAULTS_3D, CNNBackbone, shortcut
from mmaction.models.common.layers import (
    ConvModule,
    ResidualBlock,
    Size,
    build_activation,
    divisible,
)
from mmaction.registry import MODELS

__all__ = ['X3D', 'BlockX3D', 'SEModule']


class SEModule(nn.Module):
    """Squeeze and excitation: a gate for each channel, from all of them (arXiv:1709.01507)."""

    def __init__(self, channels: int, reduction: float) -> None:
        super().__init__()
        within = divisible(channels * reduction)
        self.avg_pool = nn.AdaptiveAvgPool3d(1)
        self.fc1 = nn.Conv3d(channels, within, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv3d(within, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the same."""
        y: Tensor = x * self.fc2(self.relu(self.fc1(self.avg_pool(x)))).sigmoid()
        return y


class BlockX3D(ResidualBlock):
    """1x1x1 to more channels, 3x3x3 in each of them (with a gate), 1x1x1 back."""

    def __init__(
        self, wide: int, planes: int, out: int, stride: Size, se_ratio: float | None, **layers: Any
    ) -> None:
        super().__init__()
        linear = {**layers, 'act_cfg': None}
        # before conv1, as in published checkpoints
        self.downsample = shortcut(wide, out, stride, linear)
        self.conv1 = ConvModule(wide, planes, 1, **layers)
        self.conv2 = ConvModule(planes, planes, 3, stride, groups=planes, **linear)
        self.swish = nn.SiLU()
        self.conv3 = ConvModule(planes, out, 1, **linear)
        self.se_module = nn.Identity() if se_ratio is None else SEModule(planes, se_ratio)
        self.relu = build_activation(layers['act_cfg'])

    @property
    def convolutions(self) -> list[Any]:
        """The three convolutions, the gate and its activation."""
        return [self.conv1, self.conv2, self.se_module, self.swish, self.conv3]


@MODELS.register_module()
class X3D(CNNBackbone):
    """X3D.

    Args:
        gamma_w: Factor of the widths.
        gamma_b: Channels within a bottleneck over those around it.
        gamma_d: Factor of the depths.
        pretrained: Weights of this network that `init_weights` loads.
        in_channels: Channels of a frame.
        num_stages: Stages to build.
        spatial_strides: Stride in space of each stage.
        se_style: 'half': every second block has a gate; 'all': each.
        se_ratio: Width of the gate's hidden layer over the channels; None: no gates.
        use_swish: No effect; accepted since published configs may have it.
        kwargs: Further arguments of `CNNBackbone`, over `DEFAULTS_3D`. `act_cfg` is not that
            of the second activation in a block, which is Swish.

    Raises:
        ValueError: Another `se_style`, or strides that do not go with the stages.

    Source: arXiv:2004.04730.
    """

    stem_names = ('conv1_s', 'conv1_t')

    def __init__(
        self,
        gamma_w: float = 1.0,
        gamma_b: float = 1.0,
        gamma_d: float = 1.0,
        pretrained: str | None = None,
        in_channels: int = 3,
        num_stages: int = 4,
        spatial_strides: Sequence[int] = (2, 2, 2, 2),
        se_style: str = 'half',
        se_ratio: float | None = 1 / 16,
        use_swish: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, False, **{**DEFAULTS_3D, **kwargs})
        if se_style not in ('half', 'all') or not 1 <= num_stages == len(spatial_strides) <= 4:
            raise ValueError(
                f"se_style={se_style!r} must be 'half' or 'all', and spatial_strides="
                f'{tuple(spatial_strides)} must have num_stages={num_stages} values, 4 at most'
            )
        self.out_indices = (num_stages - 1,)
        layers = self.layer_cfgs
        plain = dict(layers, norm_cfg=None, act_cfg=None)
        wide = base = divisible(24 * (gamma_w or 1))
        self.conv1_s = ConvModule(in_channels, base, (1, 3, 3), (1, 2, 2), **plain)
        self.conv1_t = ConvModule(base, base, (5, 1, 1), groups=base, **layers)
        for i, count in enumerate((1, 2, 5, 3)[:num_stages]):
            out, stride = base * 2**i, spatial_strides[i]
            blocks = []
            for j in range(math.ceil(count * (gamma_d or 1))):
                gate = se_ratio if se_style == 'all' or j % 2 == 0 else None
                sizes = (wide, int(out * gamma_b), out, 1 if j else (1, stride, stride))
                blocks.append(BlockX3D(*sizes, gate, **layers))
                wide = out
            self.add_stage(blocks)
        self.feat_dim = int(wide * gamma_b)
        self.conv5 = ConvModule(wide, self.feat_dim, 1, **layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H', W')."""
        y: Tensor = self.conv5(super().forward(x))
        return y
