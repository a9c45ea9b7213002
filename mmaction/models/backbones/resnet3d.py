"""ResNet on clips: I3D, channel-separated (CSN), factorized in space and time (R(2+1)D).

Shapes: clips (N, C, T, H, W). "Inflated" means: with a kernel along time.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mmaction.mmaction2_names import refuse_names_of
from mmaction.models.common.cnn import DEFAULTS_3D, CNNBackbone
from mmaction.models.common.layers import ConvModule, Size
from mmaction.models.common.non_local import NonLocal3d
from mmaction.registry import MODELS
from mmaction.utils import OptConfigType

from .resnet import DEPTHS, Block, check_stages, per_block

__all__ = ['ResNet2Plus1d', 'ResNet3d', 'ResNet3dCSN', 'block_kernels']

if not TYPE_CHECKING:  # which would let any name pass
    __getattr__ = refuse_names_of(__name__)


def block_kernels(
    bottleneck: bool, inflated: bool, inflate_style: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernels (T, H, W) of the first two convolutions of a block."""
    t = 3 if inflated else 1
    if not bottleneck:
        return (t, 3, 3), (t, 3, 3)
    return ((t, 1, 1), (1, 3, 3)) if inflate_style == '3x1x1' else ((1, 1, 1), (t, 3, 3))


@MODELS.register_module()
class ResNet3d(CNNBackbone):
    """ResNet with kernels along time; with its defaults, I3D's.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stage_blocks: Blocks of each stage, where they are not the depth's.
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
        style: As in `Block`.
        inflate: For each stage, or for each of its blocks, whether it is inflated.
        inflate_style: Which convolution of an inflated bottleneck has the kernel along
            time: '3x1x1': the first; '3x3x3': the second.
        non_local: For each stage, or for each of its blocks, whether a non-local
            block follows.
        non_local_cfg: Arguments of `NonLocal3d`.
        lateral_ratios: Channels from another pathway that come into each stage, over those
            of this one.
        bottleneck_mode: `mode` of `Block`.
        kwargs: Arguments of `CNNBackbone`, over `DEFAULTS_3D`.

    Raises:
        ValueError: An unknown depth or style, or stages that do not agree.

    Source: arXiv:1705.07750, with the residual network of arXiv:1711.07971.
    """

    def __init__(
        self,
        depth: int = 50,
        pretrained: str | None = None,
        stage_blocks: Sequence[int] | None = None,
        in_channels: int = 3,
        num_stages: int = 4,
        base_channels: int = 64,
        out_indices: Sequence[int] = (3,),
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 1, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        conv1_kernel: Size = (3, 7, 7),
        conv1_stride_s: int = 2,
        conv1_stride_t: int = 1,
        pool1_stride_s: int = 2,
        pool1_stride_t: int = 1,
        with_pool1: bool = True,
        with_pool2: bool = True,
        style: str = 'pytorch',
        inflate: int | Sequence[int | Sequence[int]] = (1, 1, 1, 1),
        inflate_style: str = '3x1x1',
        non_local: int | Sequence[int | Sequence[int]] = (0, 0, 0, 0),
        non_local_cfg: OptConfigType = None,
        lateral_ratios: Sequence[Fraction | int] = (0, 0, 0, 0),
        bottleneck_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, **{**DEFAULTS_3D, **kwargs})
        per_stage = (spatial_strides, temporal_strides, dilations)
        check_stages(depth, num_stages, out_indices, style, *per_stage)
        deep = depth >= 50
        counts = tuple(stage_blocks or DEPTHS[depth][:num_stages])
        inflated = per_block('inflate', inflate, counts)
        non_locals = per_block('non_local', non_local, counts)
        self.depth = depth
        self.num_stages = num_stages
        self.base_channels = base_channels
        self.out_indices = tuple(out_indices)
        self.with_pool2 = with_pool2
        if not with_pool1:
            self.stem_names = ('conv1',)

        stride = (conv1_stride_t, conv1_stride_s, conv1_stride_s)
        self.conv1 = ConvModule(in_channels, base_channels, conv1_kernel, stride, **self.layer_cfgs)
        stride = (pool1_stride_t, pool1_stride_s, pool1_stride_s)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride, (0, 1, 1))
        self.pool2 = nn.MaxPool3d((2, 1, 1))
        options = dict(self.layer_cfgs, bottleneck=deep, style=style, mode=bottleneck_mode)
        self.feat_dim = base_channels
        self.widths = []
        for i, count in enumerate(counts):
            self.widths.append(self.feat_dim)
            self.feat_dim += int(self.feat_dim * lateral_ratios[i])
            s, t, d = spatial_strides[i], temporal_strides[i], dilations[i]
            blocks = []
            for j in range(count):
                options['kernels'] = block_kernels(deep, inflated[i][j] == 1, inflate_style)
                sizes = (self.feat_dim, base_channels * 2**i, 1 if j else (t, s, s), (1, d, d))
                blocks.append(Block(*sizes, **options))
                self.feat_dim = blocks[-1].out_channels
                if non_locals[i][j]:
                    blocks[-1].non_local_block = NonLocal3d(self.feat_dim, **(non_local_cfg or {}))
            self.add_stage(blocks)
        self.cam_layer = self.res_layers[-1]

    def run_stage(self, x: Tensor, index: int) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W'), pooled over time after the first stage."""
        x = super().run_stage(x, index)
        return self.pool2(x) if index == 0 and self.with_pool2 else x


@MODELS.register_module()
class ResNet3dCSN(ResNet3d):
    """Channel-separated network.

    Args:
        depth: 50, 101 or 152.
        bottleneck_mode: 'ir' or 'ip', as in `Block`.
        bn_frozen: With `norm_eval`, do not train the weights of BatchNorm either.
        kwargs: Further arguments of `ResNet3d`, whose defaults are others here for
            `temporal_strides`, `norm_cfg` and `inflate_style`.

    Raises:
        ValueError: Another depth or mode.

    Source: arXiv:1904.02811.
    """

    def __init__(
        self,
        depth: int,
        pretrained: str | None = None,
        bottleneck_mode: str = 'ir',
        bn_frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        if depth < 50 or bottleneck_mode not in ('ir', 'ip'):
            raise ValueError(
                f"ResNet3dCSN takes depth 50, 101 or 152 and bottleneck_mode 'ir' or 'ip', not "
                f'{depth} and {bottleneck_mode!r}'
            )
        defaults: dict[str, Any] = dict(temporal_strides=(1, 2, 2, 2), inflate_style='3x3x3')
        defaults['norm_cfg'] = dict(type='BN3d', eps=1e-3)
        kwargs = {**defaults, **kwargs, 'bottleneck_mode': bottleneck_mode}
        super().__init__(depth, pretrained, **kwargs)
        self.bn_frozen = bn_frozen


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
