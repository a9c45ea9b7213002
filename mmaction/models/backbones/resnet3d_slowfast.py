"""SlowFast, and SlowOnly, which is its slow pathway alone.

Shapes: clips (N, C, T, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, kaiming_init
from torch import Tensor, nn

from mmaction.models.common.layers import ConvModule
from mmaction.models.common.pretrained import load_pretrained
from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType

from .resnet3d import ResNet3d

__all__ = ['ResNet3dPathway', 'ResNet3dSlowFast', 'ResNet3dSlowOnly']


@MODELS.register_module(name=['resnet3d', 'ResNet3dPathway'])
class ResNet3dPathway(ResNet3d):
    """A pathway of SlowFast, into which another may flow.

    Args:
        lateral: Whether another pathway flows into this one.
        lateral_norm: Whether norm and activation follow the lateral convolutions.
        speed_ratio: Frames of the other pathway over those of this one.
        channel_ratio: Channels of this pathway over those of the other.
        fusion_kernel: Length of the lateral convolutions along time.
        lateral_infl: Factor of the channels in a lateral convolution.
        lateral_activate: For each stage, whether the other pathway flows into it.
        kwargs: Further arguments of `ResNet3d`.
    """

    pad_channels = True

    def __init__(
        self,
        lateral: bool = False,
        lateral_norm: bool = False,
        speed_ratio: int = 8,
        channel_ratio: int = 8,
        fusion_kernel: int = 5,
        lateral_infl: int = 2,
        lateral_activate: Sequence[int] = (1, 1, 1, 1),
        **kwargs: Any,
    ) -> None:
        inflow = Fraction(lateral_infl, channel_ratio)
        flows = [bool(lateral and flow) for flow in lateral_activate]
        super().__init__(**kwargs, lateral_ratios=[inflow * flow for flow in flows])
        self.lateral = lateral
        layers = dict(self.layer_cfgs)
        if not lateral_norm:
            layers.update(norm_cfg=None, act_cfg=None)
        kernel, stride = (fusion_kernel, 1, 1), (speed_ratio, 1, 1)
        padding = ((fusion_kernel - 1) // 2, 0, 0)
        # stage that a lateral convolution flows into -> its name, which is of the stage before
        self.laterals = {}
        for i, wide in enumerate(self.widths):
            if flows[i]:
                self.laterals[i] = f'{self.res_layers[i - 1] if i else "conv1"}_lateral'
                channels = (wide // channel_ratio, int(wide * inflow))
                conv = ConvModule(*channels, kernel, stride, padding, **layers)
                self.add_module(self.laterals[i], conv)

    def fuse(self, x: Tensor, other: Tensor, stage: int) -> Tensor:
        """This pathway's map before a stage, and the other's, where it flows in."""
        if stage not in self.laterals:
            return x
        return torch.cat([x, getattr(self, self.laterals[stage])(other)], 1)

    def frozen_modules(self) -> Iterator[nn.Module]:
        """The modules that `frozen_stages` means, with what flows in after them."""
        yield from super().frozen_modules()
        for stage, name in self.laterals.items():
            if 0 < stage <= self.frozen_stages:
                yield getattr(self, name)

    def init_weights(self) -> None:
        """Load `pretrained`, or start from scratch; the lateral convolutions always do."""
        super().init_weights()
        for stage, name in self.laterals.items():
            if stage:
                kaiming_init(getattr(self, name).conv)


@MODELS.register_module()
class ResNet3dSlowOnly(ResNet3dPathway):
    """The slow pathway alone: only the last stages have kernels along time.

    Takes the arguments of `ResNet3dPathway`, with other defaults for `conv1_kernel`,
    `inflate` and `with_pool2`.

    Raises:
        ValueError: `lateral`, which it has not.

    Source: arXiv:1812.03982.
    """

    def __init__(self, **kwargs: Any) -> None:
        defaults = dict(conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), with_pool2=False)
        super().__init__(**{**defaults, **kwargs})
        if self.lateral:
            raise ValueError('ResNet3dSlowOnly has one pathway: lateral must be False')


_SLOW = dict(type='resnet3d', lateral=True, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1))
_FAST = dict(type='resnet3d', base_channels=8, conv1_kernel=(5, 7, 7))


@MODELS.register_module()
class ResNet3dSlowFast(BaseModule):
    """Two pathways: few frames with many channels, many frames with few.

    Args:
        pretrained: Weights of the whole network that `init_weights` loads.
        resample_rate: The slow pathway sees one of so many frames.
        speed_ratio: Frames of the fast pathway over those of the slow one.
        channel_ratio: Channels of the slow pathway over those of the fast one.
        slow_pathway: Config of the slow pathway.
        fast_pathway: Config of the fast pathway.
        init_cfg: Another initialization, as in mmengine.

    Raises:
        ValueError: `resample_rate` is less than `speed_ratio`.

    Source: arXiv:1812.03982.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        resample_rate: int = 8,
        speed_ratio: int = 8,
        channel_ratio: int = 8,
        slow_pathway: ConfigType = _SLOW,
        fast_pathway: ConfigType = _FAST,
        init_cfg: OptConfigType | list[Any] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 1 <= speed_ratio <= resample_rate:
            raise ValueError(
                f'resample_rate={resample_rate} must be at least speed_ratio={speed_ratio}: the '
                'fast pathway sees one of resample_rate // speed_ratio frames'
            )
        self.pretrained = pretrained
        self.resample_rate = resample_rate
        self.speed_ratio = speed_ratio
        ratios = dict(speed_ratio=speed_ratio, channel_ratio=channel_ratio)
        self.slow_path = MODELS.build({**slow_pathway, **ratios})
        self.cam_layer = f'slow_path/{self.slow_path.cam_layer}'
        self.fast_path = MODELS.build(dict(fast_pathway))

    def init_weights(self) -> None:
        """Load `pretrained`, or initialize each pathway as its config says.

        Raises:
            CheckpointError: The weights cannot be read or fetched, or are of another network.
        """
        if self.pretrained:
            load_pretrained(self, self.pretrained)
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, T, H, W) -> maps of the slow and the fast pathway, (N, C', T', H', W') each."""
        slow, fast = self.slow_path, self.fast_path
        x_slow = _every(x, self.resample_rate)
        x_fast = _every(x, self.resample_rate // self.speed_ratio)
        x_slow = slow.maxpool(slow.conv1(x_slow))
        x_fast = fast.maxpool(fast.conv1(x_fast))
        for i, stages in enumerate(zip(slow.stages(), fast.stages(), strict=True)):
            x_slow = stages[0](slow.fuse(x_slow, x_fast, i))
            x_fast = stages[1](x_fast)
        return x_slow, x_fast


def _every(x: Tensor, rate: int) -> Tensor:
    """One of `rate` frames of (N, C, T, H, W)."""
    return F.interpolate(x, mode='nearest', scale_factor=(1.0 / rate, 1.0, 1.0))
