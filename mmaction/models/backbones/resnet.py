"""ResNet on frames, and C2D, which is the same with a pooling over time.

Shapes: N videos of T frames; frames (N*T, C, H, W), clips (N, C, T, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.utils import _ntuple

from mmaction.mmaction2_names import refuse_names_of
from mmaction.models.common.cnn import CNNBackbone, shortcut
from mmaction.models.common.layers import (
    ConvModule,
    ResidualBlock,
    Size,
    build_activation,
    to_clips,
    to_frames,
)
from mmaction.registry import MODELS

__all__ = ['C2D', 'DEPTHS', 'EXPANSION', 'Block', 'ResNet', 'check_stages', 'per_block']

if not TYPE_CHECKING:  # which would let any name pass
    __getattr__ = refuse_names_of(__name__)


class Block(ResidualBlock):
    """Two convolutions; or as a bottleneck one to few channels, one among these, one back to many.

    Args:
        wide: Channels that come in.
        planes: Channels that go out; a bottleneck gives four times as many (`out_channels`).
        stride: Stride of the block.
        dilation: Dilation of its first convolution, in a bottleneck of the second.
        bottleneck: Whether it is one.
        kernels: Kernels of the first two convolutions.
        style: Which convolution of a bottleneck has the stride: 'pytorch': the second;
            'caffe': the first.
        mode: 'ir': the second convolution of a bottleneck sees each channel alone
            (interaction-reduced); 'ip': so it does, after a 1x1x1 one of its own
            (interaction-preserved). Source: arXiv:1904.02811.
        layers: Further arguments of `ConvModule`.
    """

    def __init__(
        self,
        wide: int,
        planes: int,
        stride: Size = 1,
        dilation: Size = 1,
        *,
        bottleneck: bool,
        kernels: tuple[Size, Size],
        style: str = 'pytorch',
        mode: str | None = None,
        **layers: Any,
    ) -> None:
        super().__init__()
        first, second = kernels
        last = {**layers, 'act_cfg': None}
        self.out_channels = planes * EXPANSION if bottleneck else planes
        downsample = shortcut(wide, self.out_channels, stride, last)
        if not bottleneck:
            self.conv1 = ConvModule(wide, planes, first, stride, None, dilation, **layers)
            self.conv2: nn.Module = ConvModule(planes, planes, second, **last)
        else:
            stride1, stride2 = (1, stride) if style == 'pytorch' else (stride, 1)
            self.conv1 = ConvModule(wide, planes, first, stride1, **layers)
            groups = planes if mode else 1
            self.conv2 = ConvModule(
                planes, planes, second, stride2, None, dilation, groups, **layers
            )
            if mode is not None:
                mix = [ConvModule(planes, planes, 1, **last)] if mode == 'ip' else []
                self.conv2 = nn.Sequential(*mix, self.conv2)
            self.conv3 = ConvModule(planes, self.out_channels, 1, **last)
        self.downsample = downsample
        self.relu = build_activation(layers['act_cfg'])


# channels that come out of a bottleneck over those within
EXPANSION = 4
# depth: blocks of each stage, which are bottlenecks from 50 on
DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@MODELS.register_module()
class ResNet(CNNBackbone):
    """ResNet, frame by frame.

    Args:
        depth: 18, 34, 50, 101 or 152.
        torchvision_pretrain: Whether `pretrained` has torchvision's names.
        in_channels: Channels of a frame (5 optical flow fields: 10).
        num_stages: Stages to build.
        out_indices: Stages whose outputs are given.
        strides: Stride of each stage.
        dilations: Dilation of each stage.
        style: As in `Block`.
        partial_bn: Train only the first BatchNorm.
        kwargs: Arguments of `CNNBackbone`; `norm_cfg` is BN2d here.

    Raises:
        ValueError: An unknown depth or style, or stages that do not agree.

    Source: arXiv:1512.03385.
    """

    conv_types = (nn.Conv2d,)
    norm_types = (nn.BatchNorm2d,)

    def __init__(
        self,
        depth: int,
        pretrained: str | None = None,
        torchvision_pretrain: bool = True,
        in_channels: int = 3,
        num_stages: int = 4,
        out_indices: Sequence[int] = (3,),
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        style: str = 'pytorch',
        partial_bn: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs = {'norm_cfg': dict(type='BN2d'), **kwargs}
        super().__init__(pretrained, torchvision_pretrain, **kwargs)
        check_stages(depth, num_stages, out_indices, style, strides, dilations)
        self.depth = depth
        self.num_stages = num_stages
        self.out_indices = tuple(out_indices)
        self.partial_bn = partial_bn
        self.conv1 = ConvModule(in_channels, 64, 7, 2, **self.layer_cfgs)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        options = dict(self.layer_cfgs, style=style, bottleneck=depth >= 50)
        options['kernels'] = (1, 3) if depth >= 50 else (3, 3)
        self.feat_dim = 64
        for i in range(num_stages):
            blocks = []
            for j in range(DEPTHS[depth][i]):
                stride = 1 if j else strides[i]
                blocks.append(Block(self.feat_dim, 64 * 2**i, stride, dilations[i], **options))
                self.feat_dim = blocks[-1].out_channels
            self.add_stage(blocks)

    def frozen_modules(self) -> Iterator[nn.Module]:
        """The modules of `frozen_stages`; with `partial_bn` also all norms but the first."""
        yield from super().frozen_modules()
        if self.partial_bn:
            yield from [norm for norm in self.modules() if isinstance(norm, nn.BatchNorm2d)][1:]


def check_stages(
    depth: int, num_stages: int, out_indices: Sequence[int], style: str, *per_stage: Sequence[Any]
) -> None:
    """Hold the options of a ResNet against each other.

    Raises:
        ValueError: Naming the one that is wrong.
    """
    if depth not in DEPTHS:
        raise ValueError(f'depth={depth} is none of {sorted(DEPTHS)}')
    if style not in ('pytorch', 'caffe'):
        raise ValueError(f"style={style!r} is neither 'pytorch' nor 'caffe'")
    if not 1 <= num_stages <= 4 or max(out_indices) >= num_stages:
        raise ValueError(f'num_stages={num_stages} does not go with out_indices={out_indices}')
    for values in per_stage:
        if len(values) != num_stages:
            raise ValueError(f'{tuple(values)} must have one value for each of {num_stages} stages')


def per_block(
    name: str, flags: int | Sequence[int | Sequence[int]], counts: Sequence[int]
) -> list[tuple[int, ...]]:
    """One flag for each block from flags for all, for stages or for blocks.

    Raises:
        ValueError: There are too few for the stages, or not one for each block.
    """
    stages = _ntuple(len(counts))(flags)[: len(counts)]
    blocks = [
        (flag,) * count if isinstance(flag, int) else tuple(flag)
        for flag, count in zip(stages, counts, strict=False)
    ]
    if len(stages) != len(counts) or [len(each) for each in blocks] != list(counts):
        raise ValueError(f'{name}={flags!r} does not go with stages of {tuple(counts)} blocks')
    return blocks


@MODELS.register_module()
class C2D(ResNet):
    """ResNet on clips, frame by frame, that pools over pairs of frames after its first stage.

    Takes the arguments of `ResNet`.

    Source: arXiv:1711.07971, as published in its authors' code.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.maxpool = nn.MaxPool2d(3, 2)
        self.pool2 = nn.MaxPool3d((2, 1, 1))

    def run_stem(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H', W')."""
        return to_clips(super().run_stem(to_frames(x)), x.shape[2])

    def run_stage(self, x: Tensor, index: int) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W'), of half the frames after the first stage."""
        y = to_clips(super().run_stage(to_frames(x), index), x.shape[2])
        return y if index else self.pool2(y)
