"""Convolution, norm and activation layers under the names that mmaction2's configs use."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import constant_init, kaiming_init
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.utils import _triple
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType

__all__ = [
    'LN',
    'Conv2plus1d',
    'ConvModule',
    'ResidualBlock',
    'Size',
    'SyncBatchNorm',
    'build_activation',
    'build_norm_layer',
    'divisible',
    'feed_forward',
    'named',
    'split_segments',
    'to_clips',
    'to_frames',
]

Size = int | tuple[int, ...]

# The norm of most transformers
LN: ConfigType = dict(type='LN', eps=1e-6)


def to_frames(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N*T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def to_clips(x: Tensor, frames: int) -> Tensor:
    """(N*T, C, H, W) -> (N, C, T, H, W) of T = `frames`."""
    return torch.unflatten(x, 0, (-1, frames)).transpose(1, 2)


def split_segments(x: Tensor, segments: int) -> Tensor:
    """(N*T, C, H, W) -> (N, T, C, H, W) of T = `segments`.

    Raises:
        ValueError: The frames are no multiple of `segments`.
    """
    frames = x.shape[0]  # len() would fix the size of the batch in an exported network
    if frames % segments:
        raise ValueError(
            f'{frames} frames are no multiple of num_segments={segments}: num_clips of '
            'SampleFrames must be num_segments of backbone and head'
        )
    y: Tensor = x.unflatten(0, (-1, segments))
    return y


class SyncBatchNorm(nn.SyncBatchNorm):
    """PyTorch's, which trains on CPUs too: there the runner makes it that of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same."""
        return super().forward(x) if x.is_cuda else _BatchNorm.forward(self, x)


_HAVE_INPLACE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.SiLU, nn.Hardswish)
_LAYERS: dict[str, type[nn.Module]] = {
    'Conv': nn.Conv2d,
    'BN': nn.BatchNorm2d,
    **{f'BN{n}d': getattr(nn, f'BatchNorm{n}d') for n in (1, 2, 3)},
    'IN': nn.InstanceNorm2d,
    **{f'IN{n}d': getattr(nn, f'InstanceNorm{n}d') for n in (1, 2, 3)},
    'SyncBN': SyncBatchNorm,
    'GN': nn.GroupNorm,
    'LN': nn.LayerNorm,
    'Swish': nn.SiLU,
    'HSwish': nn.Hardswish,
    **{kind.__name__: kind for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Sigmoid, nn.Tanh)},
    **{kind.__name__: kind for kind in (*_HAVE_INPLACE, nn.PReLU, nn.GELU)},
}
for _name, _layer in _LAYERS.items():
    MODELS.register_module(name=_name, module=_layer)

_ABBREVIATIONS = {_InstanceNorm: 'in', _BatchNorm: 'bn', nn.GroupNorm: 'gn', nn.LayerNorm: 'ln'}


def _layer_class(cfg: ConfigType) -> tuple[Any, dict[str, Any]]:
    """The class that a config names, and the other keys."""
    options = dict(cfg)
    kind = options.pop('type')
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise ValueError(f'no layer {kind!r} is registered; known are {", ".join(_LAYERS)}')
    return found, options


def build_norm_layer(cfg: ConfigType, channels: int) -> nn.Module:
    """A norm layer.

    Args:
        cfg: `type`, `requires_grad` (default True), and arguments of the layer.
        channels: Channels that come in.

    Raises:
        ValueError: No such layer.
    """
    kind, options = _layer_class(cfg)
    requires_grad = options.pop('requires_grad', True)
    options.setdefault('eps', 1e-5)
    if kind is nn.GroupNorm:
        layer: nn.Module = kind(num_channels=channels, **options)
    else:
        layer = kind(channels, **options)
    return layer.requires_grad_(requires_grad)


def _norm_name(layer: nn.Module) -> str:
    """The attribute that mmaction2 keeps a norm layer under ('bn', 'gn', 'ln', ...)."""
    names = [name for kind, name in _ABBREVIATIONS.items() if isinstance(layer, kind)]
    return (names or ['bn' if 'batch' in type(layer).__name__.lower() else 'norm_layer'])[0]


def build_activation(cfg: ConfigType) -> nn.Module:
    """An activation, in place where it can be and the config does not say otherwise."""
    kind, options = _layer_class(cfg)
    if issubclass(kind, _HAVE_INPLACE):
        options.setdefault('inplace', True)
    layer: nn.Module = kind(**options)
    return layer


def divisible(channels: float) -> int:
    """The multiple of 8 that is nearest, or the next where that is over a tenth below."""
    from timm.layers import make_divisible  # takes longer to import than this package

    wide: int = make_divisible(channels)
    return wide


def feed_forward(dims: int, hidden: int, drop: float = 0.0) -> nn.Sequential:
    """Two linear layers with a GELU between and dropout after each; mmcv's `FFN.layers`."""
    return nn.Sequential(
        nn.Sequential(nn.Linear(dims, hidden), nn.GELU(), nn.Dropout(drop)),
        nn.Linear(hidden, dims),
        nn.Dropout(drop),
    )


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, under these names."""
    return nn.Sequential(OrderedDict(layers))


def _same(kernel: Size, dilation: Size) -> Size:
    if isinstance(kernel, int) and isinstance(dilation, int):
        return kernel // 2 * dilation
    return tuple(k // 2 * d for k, d in zip(_triple(kernel), _triple(dilation), strict=True))


class ConvModule(nn.Module):
    """Convolution, then norm and activation where configs are given for them.

    State-dict names: `conv.*` and `bn.*` (or what else the norm is called).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel_size: As in PyTorch's convolutions, like `stride`, `dilation` and `groups`.
        padding: None: as much as keeps the size, but for the stride.
        bias: Whether the convolution has a bias; 'auto': if no norm follows.
        conv_cfg: Config of the convolution; None is a 2-D one.
        norm_cfg: Config of the norm.
        act_cfg: Config of the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool | str = 'auto',
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        act_cfg: OptConfigType = dict(type='ReLU'),  # noqa: B006 (built, never written to)
    ) -> None:
        super().__init__()
        kind, options = _layer_class(conv_cfg or dict(type='Conv2d'))
        self.conv = kind(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=_same(kernel_size, dilation) if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=norm_cfg is None if bias == 'auto' else bias,
            **options,
        )
        self.norm_name = None
        if norm_cfg is not None:
            norm = build_norm_layer(norm_cfg, out_channels)
            self.norm_name = _norm_name(norm)
            self.add_module(self.norm_name, norm)
        self.activate = None if act_cfg is None else build_activation(act_cfg)
        self.init_weights()

    @property
    def norm(self) -> Any:
        """The norm layer, or None."""
        return getattr(self, self.norm_name) if self.norm_name else None

    def init_weights(self) -> None:
        """Kaiming weights, a norm that changes nothing."""
        if hasattr(self.conv, 'init_weights'):
            self.conv.init_weights()
        else:
            kaiming_init(self.conv)
        if self.norm is not None:
            constant_init(self.norm, 1, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C', ...)."""
        for layer in self.children():
            x = layer(x)
        return x


@MODELS.register_module()
class Conv2plus1d(nn.Module):
    """A 3-D convolution as one in space, norm and ReLU, and one in time.

    Takes the arguments of `nn.Conv3d`. The channels between the two are so
    many that the parameters stay those of the full 3-D convolution.

    Source: arXiv:1711.11248, section 3.5.

    Raises:
        ValueError: Dilation or groups, which it has not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        norm_cfg: ConfigType = dict(type='BN3d'),  # noqa: B006 (built, never written to)
    ) -> None:
        super().__init__()
        if _triple(dilation) != (1, 1, 1) or groups != 1:
            raise ValueError(f'Conv2plus1d has no dilation ({dilation}) and no groups ({groups})')
        (kt, *k), (st, *s), (pt, *p) = (_triple(size) for size in (kernel_size, stride, padding))
        # the temporal kernel counts as 3 here, whatever it is
        area = in_channels * math.prod(k)
        between = int(3 * area * out_channels / (area + 3 * out_channels))
        self.conv_s = nn.Conv3d(in_channels, between, (1, *k), (1, *s), (0, *p), bias=bias)
        self.bn_s = build_norm_layer(norm_cfg, between)
        self.relu = nn.ReLU(inplace=True)
        time = (kt, 1, 1), (st, 1, 1), (pt, 0, 0)
        self.conv_t = nn.Conv3d(between, out_channels, *time, bias=bias)
        self.init_weights()

    def init_weights(self) -> None:
        """Kaiming weights, a norm that changes nothing."""
        kaiming_init(self.conv_s)
        kaiming_init(self.conv_t)
        constant_init(self.bn_s, 1, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W')."""
        y: Tensor = self.conv_t(self.relu(self.bn_s(self.conv_s(x))))
        return y


class ResidualBlock(nn.Module):
    """What residual blocks share: branch plus shortcut, activation, non-local block.

    Subclasses add convolutions, a `relu` and, in their place in the state dict, a
    `downsample` and a `non_local_block` where they have one.
    """

    relu: Callable[[Tensor], Tensor]
    # whether the activations within are computed again in the backward pass, for less memory
    with_cp = False

    def __init__(self) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        self.non_local_block: nn.Module | None = None

    @property
    def convolutions(self) -> list[Any]:
        """`conv1`, `conv2` and, in a bottleneck, `conv3`."""
        return [module for name, module in self.named_children() if name.startswith('conv')]

    def _sum(self, x: Tensor, *inserted: nn.Module) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        first, *others = self.convolutions
        for module in (first, *inserted, *others):
            x = module(x)
        return x + shortcut

    def forward(self, x: Tensor, *inserted: nn.Module) -> Tensor:
        """(N, C, ...) -> (N, C', ...), with further modules after the first convolution."""
        if self.with_cp and x.requires_grad and torch.is_grad_enabled():
            out = checkpoint(self._sum, x, *inserted, use_reentrant=False)
        else:
            out = self._sum(x, *inserted)
        out = self.relu(out)
        y: Tensor = out if self.non_local_block is None else self.non_local_block(out)
        return y
