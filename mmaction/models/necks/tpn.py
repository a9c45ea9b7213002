"""Temporal pyramid network: the maps of several stages, as frames of several rates.

Shapes: maps (N, C, T, H, W), one for each level of the pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import constant_init, normal_init, xavier_init
from torch import Tensor, nn

from mmaction.models.common.layers import ConvModule, Size
from mmaction.models.heads.base import BaseHead
from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType, OptSampleList, SampleList

__all__ = ['TPN', 'AuxHead', 'DownSample', 'LevelFusion', 'SpatialModulation']

_CONV3D = dict(type='Conv3d')
_BN3D = dict(type='BN3d')
_FUSED = dict(kernel_size=1, padding=0, groups=32, norm_cfg=_BN3D, act_cfg=dict(type='ReLU'))
_norm_conv = partial(ConvModule, bias=False, conv_cfg=_CONV3D, norm_cfg=_BN3D)


class DownSample(nn.Module):
    """Convolution and max pooling; `downsample_position` says where the pooling stands."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        downsample_position: str = 'after',
        downsample_scale: Size = (1, 2, 2),
        **conv: Any,
    ) -> None:
        super().__init__()
        if downsample_position not in ('before', 'after'):
            raise ValueError(f"downsample_position={downsample_position!r}: 'before' or 'after'")
        self.before = downsample_position == 'before'
        temporal = dict(kernel_size=(3, 1, 1), padding=(1, 0, 0), bias=False, conv_cfg=_CONV3D)
        self.conv = ConvModule(in_channels, out_channels, **{**temporal, 'act_cfg': None, **conv})
        self.pool = nn.MaxPool3d(downsample_scale, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W')."""
        y: Tensor = self.conv(self.pool(x)) if self.before else self.pool(self.conv(x))
        return y


class LevelFusion(nn.Module):
    """The levels at one size, side by side, through one convolution."""

    def __init__(
        self,
        in_channels: Sequence[int],
        mid_channels: Sequence[int],
        out_channels: int,
        downsample_scales: Sequence[Size] = ((1, 1, 1), (1, 1, 1)),
    ) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(
            DownSample(wide, out, 'before', scale, **_FUSED)
            for wide, out, scale in zip(in_channels, mid_channels, downsample_scales, strict=True)
        )
        self.fusion_conv = _norm_conv(sum(mid_channels), out_channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps of the levels -> (N, C, T, H, W)."""
        levels = [down(x) for down, x in zip(self.downsamples, maps, strict=True)]
        y: Tensor = self.fusion_conv(torch.cat(levels, 1))
        return y


class SpatialModulation(nn.Module):
    """Brings each level to the channels and the size of the last by halving its size."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.spatial_modulation = nn.ModuleList()
        for channels in in_channels:
            halvings = (out_channels // channels).bit_length() - 1
            steps = [
                _norm_conv(channels * 2**i, channels * 2 ** (i + 1), (1, 3, 3), (1, 2, 2))
                for i in range(halvings)
            ]
            self.spatial_modulation.append(nn.Sequential(*steps))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of the levels, of one shape."""
        return [step(x) for step, x in zip(self.spatial_modulation, maps, strict=True)]


class AuxHead(BaseHead):
    """Classifier of an earlier stage, whose loss helps it to learn."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        loss_weight: float = 0.5,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
    ) -> None:
        super().__init__(out_channels, in_channels, loss_cls, topk=())
        self.conv = _norm_conv(in_channels, in_channels * 2, (1, 3, 3), (1, 2, 2))
        self.loss_weight = loss_weight
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(in_channels * 2, out_channels)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W) -> logits (N, K)."""
        y: Tensor = self.fc(self.dropout(self.conv(x).mean((2, 3, 4))))
        return y

    def loss(self, feats: Tensor, data_samples: SampleList, **kwargs: Any) -> dict[str, Tensor]:
        """`loss_aux` of a map against the samples' labels."""
        return dict(loss_aux=self.loss_weight * super().loss(feats, data_samples)['loss_cls'])


@MODELS.register_module()
class TPN(nn.Module):
    """Temporal pyramid of the maps of several stages.

    Args:
        in_channels: Channels of the maps that come in.
        out_channels: Channels of the levels.
        spatial_modulation_cfg: Arguments of `SpatialModulation`.
        temporal_modulation_cfg: `downsample_scales`, the rate of each level.
        upsample_cfg: Arguments of `nn.Upsample`, from a level to the one before.
        downsample_cfg: Arguments of `DownSample`, from a level to the next.
        level_fusion_cfg: Arguments of `LevelFusion`.
        aux_head_cfg: Arguments of `AuxHead`; None: there is none.
        flow_type: 'cascade': the flow up starts from what the flow down gave;
            'parallel': from the levels themselves.

    Raises:
        ValueError: Another `flow_type`, or a missing config.

    Source: arXiv:2004.03548.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        spatial_modulation_cfg: OptConfigType = None,
        temporal_modulation_cfg: OptConfigType = None,
        upsample_cfg: OptConfigType = None,
        downsample_cfg: OptConfigType = None,
        level_fusion_cfg: OptConfigType = None,
        aux_head_cfg: OptConfigType = None,
        flow_type: str = 'cascade',
    ) -> None:
        super().__init__()
        if flow_type not in ('cascade', 'parallel'):
            raise ValueError(f"flow_type={flow_type!r} is neither 'cascade' nor 'parallel'")
        if not (spatial_modulation_cfg and temporal_modulation_cfg and level_fusion_cfg):
            raise ValueError(
                'TPN needs spatial_modulation_cfg, temporal_modulation_cfg and level_fusion_cfg'
            )
        self.flow_type = flow_type
        self.temporal_modulation_ops = nn.ModuleList(
            DownSample(in_channels[-1], out_channels, groups=32, downsample_scale=(scale, 1, 1))
            for scale in temporal_modulation_cfg['downsample_scales']
        )
        up: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in (upsample_cfg or {}).items()
        }
        self.upsample = nn.Upsample(**up) if up else None
        self.downsample_ops = nn.ModuleList(
            DownSample(out_channels, out_channels, **downsample_cfg)
            for _ in in_channels[1:]
            if downsample_cfg is not None
        )
        self.level_fusion_1 = LevelFusion(**level_fusion_cfg)
        self.spatial_modulation = SpatialModulation(**spatial_modulation_cfg)
        self.level_fusion_2 = LevelFusion(**level_fusion_cfg)
        self.pyramid_fusion = _norm_conv(level_fusion_cfg['out_channels'] * 2, 2048, 1)
        self.aux_head = None
        if aux_head_cfg is not None:
            self.aux_head = AuxHead(in_channels[-2], **aux_head_cfg)

    def init_weights(self) -> None:
        """Xavier convolutions, a norm that changes nothing."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                xavier_init(module, distribution='uniform')
            elif isinstance(module, nn.BatchNorm3d):
                constant_init(module, 1)
        if self.aux_head is not None:
            normal_init(self.aux_head.fc, std=0.01)

    def forward(
        self, maps: Sequence[Tensor], data_samples: OptSampleList = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The maps of the stages -> (N, 2048, T, H, W), and the auxiliary loss.

        Args:
            maps: The earliest stage first.
            data_samples: N samples with labels; without them there is no loss.
        """
        losses: dict[str, Tensor] = {}
        if self.aux_head is not None and data_samples is not None:
            losses = self.aux_head.loss(maps[-2], data_samples)
        levels = self.spatial_modulation(maps)
        levels = [op(x) for op, x in zip(self.temporal_modulation_ops, levels, strict=True)]
        down = list(levels)
        for i in reversed(range(len(levels) - 1)):
            if self.upsample is not None:
                down[i] = down[i] + self.upsample(down[i + 1])
        up = list(levels if self.flow_type == 'parallel' else down)
        for i, downsample in enumerate(self.downsample_ops):
            up[i + 1] = up[i + 1] + downsample(up[i])
        both = torch.cat([self.level_fusion_1(down), self.level_fusion_2(up)], 1)
        return self.pyramid_fusion(both), losses
