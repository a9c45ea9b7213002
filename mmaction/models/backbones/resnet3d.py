"""ResNet on clips: I3D, channel-separated (CSN), factorized in space and time (R(2+1)D).

Shapes: clips (N, C, T, H, W). "Inflated" means: with a kernel along time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _triple

from mmaction.models.common.cnn import CNNBackbone, shortcut
from mmaction.models.common.layers import ConvModule, ResidualBlock, build_activation
from mmaction.models.common.non_local import NonLocal3d
from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType

from .resnet import DEPTHS, check_stages, per_block

__all__ = ['BasicBlock3d', 'Bottleneck3d', 'ResNet2Plus1d', 'ResNet3d', 'ResNet3dCSN']


class BasicBlock3d(ResidualBlock):
    """Two 3x3x3 convolutions, or 1x3x3 where the block is not inflated.

    Args:
        inplanes: Channels that come in.
        planes: Channels that go out.
        spatial_stride: Stride in space.
        temporal_stride: Stride along time.
        dilation: Dilation in space of the first convolution.
        downsample: The shortcut, where it is not the identity.
        inflate: Whether the kernels have a length along time.
        non_local_cfg: Arguments of the `NonLocal3d` after the block, if there is one.
        with_cp: Trade compute for memory.
        act_cfg: Config of the activations.
        style: No effect here.
        inflate_style: No effect here.
        layers: `conv_cfg` and `norm_cfg`.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        spatial_stride: int = 1,
        temporal_stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        style: str = 'pytorch',
        inflate: bool = True,
        inflate_style: str = '3x1x1',
        non_local_cfg: OptConfigType = None,
        with_cp: bool = False,
        act_cfg: ConfigType = dict(type='ReLU'),  # noqa: B006 (built, never written to)
        **layers: Any,
    ) -> None:
        super().__init__(with_cp)
        t = 3 if inflate else 1
        self.conv1 = ConvModule(
            inplanes,
            planes,
            (t, 3, 3),
            (temporal_stride, spatial_stride, spatial_stride),
            (t // 2, dilation, dilation),
            (1, dilation, dilation),
            bias=False,
            act_cfg=act_cfg,
            **layers,
        )
        self.conv2 = ConvModule(
            planes, planes, (t, 3, 3), 1, (t // 2, 1, 1), bias=False, act_cfg=None, **layers
        )
        self.downsample = downsample
        self.relu = build_activation(act_cfg)
        if non_local_cfg is not None:
            self.non_local_block = NonLocal3d(planes, **non_local_cfg)


class Bottleneck3d(ResidualBlock):
    """1x1x1, 1x3x3 and 1x1x1 convolutions, one of the first two inflated.

    Args:
        style: 'pytorch': the second convolution has the strides; 'caffe': the first.
        inflate_style: '3x1x1': the first convolution is inflated; '3x3x3': the second.
        bottleneck_mode: None: plain. 'ir': the second convolution sees each channel
            alone (interaction-reduced); 'ip': so it does, after a 1x1x1 one of its
            own (interaction-preserved). Source: arXiv:1904.02811.

    The other arguments are those of `BasicBlock3d`.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        spatial_stride: int = 1,
        temporal_stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        style: str = 'pytorch',
        inflate: bool = True,
        inflate_style: str = '3x1x1',
        non_local_cfg: OptConfigType = None,
        with_cp: bool = False,
        act_cfg: ConfigType = dict(type='ReLU'),  # noqa: B006 (built, never written to)
        bottleneck_mode: str | None = None,
        **layers: Any,
    ) -> None:
        super().__init__(with_cp)
        layers['bias'] = False
        stride = (temporal_stride, spatial_stride, spatial_stride)
        stride1, stride2 = ((1, 1, 1), stride) if style == 'pytorch' else (stride, (1, 1, 1))
        t1, t2 = (1, 1) if not inflate else (3, 1) if inflate_style == '3x1x1' else (1, 3)
        self.conv1 = ConvModule(
            inplanes, planes, (t1, 1, 1), stride1, (t1 // 2, 0, 0), act_cfg=act_cfg, **layers
        )
        conv2 = ConvModule(
            planes,
            planes,
            (t2, 3, 3),
            stride2,
            (t2 // 2, dilation, dilation),
            (1, dilation, dilation),
            groups=planes if bottleneck_mode else 1,
            act_cfg=act_cfg,
            **layers,
        )
        self.conv2: nn.Module = conv2
        if bottleneck_mode == 'ip':
            self.conv2 = nn.Sequential(ConvModule(planes, planes, 1, act_cfg=None, **layers), conv2)
        elif bottleneck_mode == 'ir':
            self.conv2 = nn.Sequential(conv2)
        wide = planes * self.expansion
        self.conv3 = ConvModule(planes, wide, 1, act_cfg=None, **layers)
        self.downsample = downsample
        self.relu = build_activation(act_cfg)
        if non_local_cfg is not None:
            self.non_local_block = NonLocal3d(wide, **non_local_cfg)


@MODELS.register_module()
class ResNet3d(CNNBackbone):
    """ResNet with kernels along time; with its defaults, I3D's.

    Args:
        depth: 18, 34, 50, 101 or 152.
        pretrained: As in `CNNBackbone`.
        stage_blocks: Blocks of each stage, where they are not the depth's.
        pretrained2d: Whether `pretrained` is of an image model, to be inflated.
        in_channels: Channels of a frame (optical flow: 2).
        num_stages: Stages to build.
        base_channels: Channels after the stem.
        out_indices: Stages whose outputs are given.
        spatial_strides: Stride in space of each stage.
        temporal_strides: Stride along time of each stage.
        dilations: Dilation in space of each stage.
        conv1_kernel: Kernel of the stem.
        conv1_stride_s: Its stride in space.
        conv1_stride_t: Its stride along time.
        pool1_stride_s: Stride in space of the pooling after the stem.
        pool1_stride_t: Its stride along time.
        with_pool1: Whether there is that pooling.
        with_pool2: Whether pairs of frames are pooled after the first stage.
        style: As in `Bottleneck3d`.
        inflate: For each stage, or for each of its blocks, whether it is inflated.
        inflate_style: As in `Bottleneck3d`.
        conv_cfg: Config of the convolutions.
        norm_cfg: Config of the norms.
        act_cfg: Config of the activations.
        with_cp: Trade compute for memory, block by block.
        non_local: For each stage, or for each of its blocks, whether a non-local
            block follows.
        non_local_cfg: Arguments of `NonLocal3d`.
        zero_init_residual: Start each residual block as the identity.
        lateral_channels: Channels from another pathway that come into each stage.
        bottleneck_mode: As in `Bottleneck3d`.
        kwargs: `frozen_stages`, `norm_eval` and `init_cfg` of `CNNBackbone`.

    Raises:
        ValueError: An unknown depth or style, or stages that do not agree.

    Source: arXiv:1705.07750, with the residual network of arXiv:1711.07971.
    """

    def __init__(
        self,
        depth: int = 50,
        pretrained: str | None = None,
        stage_blocks: Sequence[int] | None = None,
        pretrained2d: bool = True,
        in_channels: int = 3,
        num_stages: int = 4,
        base_channels: int = 64,
        out_indices: Sequence[int] = (3,),
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 1, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        conv1_kernel: int | Sequence[int] = (3, 7, 7),
        conv1_stride_s: int = 2,
        conv1_stride_t: int = 1,
        pool1_stride_s: int = 2,
        pool1_stride_t: int = 1,
        with_pool1: bool = True,
        with_pool2: bool = True,
        style: str = 'pytorch',
        inflate: int | Sequence[int | Sequence[int]] = (1, 1, 1, 1),
        inflate_style: str = '3x1x1',
        conv_cfg: ConfigType = dict(type='Conv3d'),  # noqa: B006 (built, never written to)
        norm_cfg: ConfigType = dict(type='BN3d'),  # noqa: B006
        act_cfg: ConfigType = dict(type='ReLU', inplace=True),  # noqa: B006
        with_cp: bool = False,
        non_local: int | Sequence[int | Sequence[int]] = (0, 0, 0, 0),
        non_local_cfg: OptConfigType = None,
        zero_init_residual: bool = True,
        lateral_channels: Sequence[int] = (0, 0, 0, 0),
        bottleneck_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, pretrained2d, zero_init_residual=zero_init_residual, **kwargs)
        per_stage = (spatial_strides, temporal_strides, dilations)
        check_stages(depth, num_stages, out_indices, style, *per_stage)
        block: type[BasicBlock3d | Bottleneck3d] = Bottleneck3d if depth >= 50 else BasicBlock3d
        counts = tuple(stage_blocks or DEPTHS[depth][:num_stages])
        inflated = per_block('inflate', inflate, counts)
        non_locals = per_block('non_local', non_local, counts)
        self.depth = depth
        self.num_stages = num_stages
        self.base_channels = base_channels
        self.out_indices = tuple(out_indices)
        self.with_pool1 = with_pool1
        self.with_pool2 = with_pool2

        layers: dict[str, Any] = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        kernel = _triple(conv1_kernel)
        self.conv1 = ConvModule(
            in_channels,
            base_channels,
            tuple(kernel),
            (conv1_stride_t, conv1_stride_s, conv1_stride_s),
            tuple(k // 2 for k in kernel),
            bias=False,
            act_cfg=act_cfg,
            **layers,
        )
        stride = (pool1_stride_t, pool1_stride_s, pool1_stride_s)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride, (0, 1, 1))
        self.pool2 = nn.MaxPool3d((2, 1, 1))
        options: dict[str, Any] = dict(
            layers, style=style, inflate_style=inflate_style, with_cp=with_cp, act_cfg=act_cfg
        )
        if bottleneck_mode is not None:
            options['bottleneck_mode'] = bottleneck_mode
        wide = base_channels
        for i, count in enumerate(counts):
            wide += lateral_channels[i]
            planes, s, t = base_channels * 2**i, spatial_strides[i], temporal_strides[i]
            out = planes * block.expansion
            blocks = []
            for j in range(count):
                passing = None if j else shortcut(wide, out, (t, s, s), **layers)
                options.update(
                    inflate=inflated[i][j] == 1,
                    non_local_cfg=(non_local_cfg or {}) if non_locals[i][j] else None,
                )
                strides = (1, 1) if j else (s, t)
                blocks.append(block(wide, planes, *strides, dilations[i], passing, **options))
                wide = out
            self.add_stage(blocks)
        self.cam_layer = self.res_layers[-1]
        self.feat_dim = wide

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(N, C, T, H, W) -> (N, C', T', H', W'), or one such for each of `out_indices`."""
        x = self.conv1(x)
        return self.collect(self.maxpool(x) if self.with_pool1 else x, self.out_indices)

    def after_stage(self, x: Tensor, stage: int) -> Tensor:
        """Pool over pairs of frames after the first stage."""
        return self.pool2(x) if stage == 0 and self.with_pool2 else x


@MODELS.register_module()
class ResNet3dCSN(ResNet3d):
    """Channel-separated network.

    Args:
        depth: 50, 101 or 152.
        pretrained: As in `ResNet3d`.
        bottleneck_mode: 'ir' or 'ip', as in `Bottleneck3d`.
        bn_frozen: With `norm_eval`, do not train the weights of BatchNorm either.
        kwargs: Further arguments of `ResNet3d`.

    Raises:
        ValueError: Another depth or mode.

    Source: arXiv:1904.02811.
    """

    def __init__(
        self,
        depth: int,
        pretrained: str | None = None,
        temporal_strides: Sequence[int] = (1, 2, 2, 2),
        norm_cfg: ConfigType = dict(type='BN3d', eps=1e-3),  # noqa: B006 (built, never written to)
        inflate_style: str = '3x3x3',
        bottleneck_mode: str = 'ir',
        bn_frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        if depth < 50 or bottleneck_mode not in ('ir', 'ip'):
            raise ValueError(
                f"ResNet3dCSN takes depth 50, 101 or 152 and bottleneck_mode 'ir' or 'ip', not "
                f'{depth} and {bottleneck_mode!r}'
            )
        super().__init__(
            depth,
            pretrained,
            temporal_strides=temporal_strides,
            norm_cfg=norm_cfg,
            inflate_style=inflate_style,
            bottleneck_mode=bottleneck_mode,
            **kwargs,
        )
        self.bn_frozen = bn_frozen

    def train(self, mode: bool = True) -> ResNet3dCSN:
        """Switch the mode; see `bn_frozen`."""
        super().train(mode)
        if mode and self.norm_eval and self.bn_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(False)
        return self


@MODELS.register_module()
class ResNet2Plus1d(ResNet3d):
    """ResNet whose convolutions are factorized in space and time, R(2+1)D.

    Takes the arguments of `ResNet3d`; `conv_cfg` must be `dict(type='Conv2plus1d')`,
    `pretrained2d` False. No frames are pooled after the first stage.

    Raises:
        ValueError: They are not.

    Source: arXiv:1711.11248.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, 'with_pool2': False})
        if self.pretrained2d or type(self.conv1.conv).__name__ != 'Conv2plus1d':
            raise ValueError(
                "ResNet2Plus1d takes pretrained2d=False and conv_cfg=dict(type='Conv2plus1d')"
            )
