"""What the convolutional backbones share: freezing, initialization, pretrained weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule, constant_init, kaiming_init
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.models.common.layers import ConvModule, ResidualBlock, Size
from mmaction.models.common.pretrained import load_pretrained
from mmaction.utils import ConfigType, OptConfigType

__all__ = ['DEFAULTS_3D', 'CNNBackbone', 'fit_2d', 'shortcut', 'torchvision_names']

# What `CNNBackbone` takes where a network of clips is asked for nothing else
DEFAULTS_3D: dict[str, Any] = dict(
    conv_cfg=dict(type='Conv3d'), norm_cfg=dict(type='BN3d'), zero_init_residual=True
)

# What wraps a layer of the plain ResNet: temporal shift, non-local block, TAM, interlacing.
_WRAPPERS = re.compile(r'\.(net|net2|block)(?=\.)')


class CNNBackbone(BaseModule):
    """Base of the convolutional backbones.

    Subclasses name the modules before the first stage in `stem_names`, the stages in
    `res_layers`, and those whose outputs are given in `out_indices`.

    Args:
        pretrained: Weights that `init_weights` loads: a path, an address
            (`https://`, `torchvision://`, `mmcls://`), or None.
        pretrained2d: Whether these are of an image model, in torchvision's names.
        frozen_stages: Stages, from the stem on, that are not trained; -1: none.
        norm_eval: Keep the running statistics of BatchNorm as they are.
        zero_init_residual: Start each residual block as the identity.
        with_cp: Trade compute for memory, block by block.
        conv_cfg: Config of the convolutions; None is 2-D.
        norm_cfg: Config of the norms; None: there are none.
        act_cfg: Config of the activations.
        init_cfg: Another initialization, as in mmengine.
    """

    stem_names: tuple[str, ...] = ('conv1', 'maxpool')
    out_indices: tuple[int, ...]
    # the types that training from scratch initializes
    conv_types: tuple[type[nn.Module], ...] = (nn.Conv3d,)
    norm_types: tuple[type[nn.Module], ...] = (_BatchNorm,)
    # whether channels that an image model has not, such as of another pathway, start at zero
    pad_channels = False
    # whether `norm_eval` keeps the weights of BatchNorm as they are, too
    bn_frozen = False

    def __init__(
        self,
        pretrained: str | None = None,
        pretrained2d: bool = True,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        zero_init_residual: bool = False,
        with_cp: bool = False,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        act_cfg: ConfigType = dict(type='ReLU', inplace=True),  # noqa: B006 (built, never written to)
        init_cfg: OptConfigType | list[Any] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.res_layers: list[str] = []
        if pretrained is not None and not isinstance(pretrained, str):
            raise TypeError(f'pretrained={pretrained!r} must be a path, an address or None')
        self.pretrained = pretrained
        self.pretrained2d = pretrained2d
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.zero_init_residual = zero_init_residual
        self.with_cp = with_cp
        self.layer_cfgs: dict[str, Any] = dict(
            bias=False, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg
        )

    def stages(self) -> list[Any]:
        """The stages, each a sequence of blocks."""
        return [getattr(self, name) for name in self.res_layers]

    def add_stage(self, blocks: Sequence[ResidualBlock]) -> None:
        """One more stage: `layer1`, `layer2`, ..."""
        for block in blocks:
            block.with_cp = self.with_cp
        self.res_layers.append(f'layer{len(self.res_layers) + 1}')
        self.add_module(self.res_layers[-1], nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Any:
        """Frames (N*T, C, H, W) or clips (N, C, T, H, W) -> the map (N*T, C', H', W') or
        (N, C', T', H', W') of one stage, or a tuple of such for several of `out_indices`.
        """
        x = self.run_stem(x)
        outs = []
        for i in range(len(self.res_layers)):
            x = self.run_stage(x, i)
            if i in self.out_indices:
                outs.append(x)
        return outs[0] if len(outs) == 1 else tuple(outs)

    def run_stem(self, x: Tensor) -> Tensor:
        """What comes before the first stage."""
        for name in self.stem_names:
            x = getattr(self, name)(x)
        return x

    def run_stage(self, x: Tensor, index: int) -> Tensor:
        """One stage, and what follows it, such as a temporal pooling."""
        y: Tensor = getattr(self, self.res_layers[index])(x)
        return y

    def frozen_modules(self) -> Iterator[nn.Module]:
        """The modules that `frozen_stages` means."""
        if self.frozen_stages >= 0:
            yield from (getattr(self, name) for name in self.stem_names)
            yield from self.stages()[: self.frozen_stages]

    def train(self, mode: bool = True) -> CNNBackbone:
        """Switch the mode; what is frozen stays in eval mode."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval().requires_grad_(False)
        for module in self.modules() if mode and self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
                if self.bn_frozen:
                    module.requires_grad_(False)
        return self

    def init_weights(self) -> None:
        """Load `pretrained`, or start from scratch.

        Raises:
            CheckpointError: The weights cannot be read or fetched, or are of another network.
        """
        if self.pretrained:
            load_pretrained(self, self.pretrained, fit_2d if self.pretrained2d else None)
        elif self.init_cfg:
            super().init_weights()
        else:
            self.init_from_scratch()

    def init_from_scratch(self) -> None:
        """Kaiming convolutions, BatchNorm with weight 1 (0 at the end of a residual block)."""
        for module in self.modules():
            if isinstance(module, self.conv_types):
                kaiming_init(module)
            elif isinstance(module, self.norm_types):
                constant_init(module, 1)
        if self.zero_init_residual:
            for block in (block for stage in self.stages() for block in stage):
                constant_init(block.convolutions[-1].norm, 0)


def shortcut(wide: int, out: int, stride: Size, layers: dict[str, Any]) -> ConvModule | None:
    """What passes by a block; None where nothing changes on the way."""
    if wide == out and stride in (1, (1, 1, 1)):
        return None
    return ConvModule(wide, out, 1, stride, **layers)


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of torchvision's ResNet -> names of these networks.

    `layer1.0.conv2.weight` -> `layer1.0.conv2.conv.weight`, `layer1.0.bn2.bias` ->
    `layer1.0.conv2.bn.bias`, `layer1.0.downsample.0.weight` -> `layer1.0.downsample.conv.weight`;
    the classifier is left out, and names that have these forms already stay.
    """
    renamed = {}
    for name, value in state.items():
        name = re.sub(r'(^|\.)bn(\d)\.', r'\1conv\2.bn.', name)
        name = re.sub(r'(^|\.)conv(\d)\.(weight|bias)$', r'\1conv\2.conv.\3', name)
        name = name.replace('.downsample.0.', '.downsample.conv.')
        name = name.replace('.downsample.1.', '.downsample.bn.')
        if not name.startswith(('fc.', 'cls_head.')):
            renamed[name] = value
    return renamed


def fit_2d(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a plain image model, under the names and in the shapes of a video model.

    A kernel is repeated along time and divided by its length (arXiv:1705.07750).

    Args:
        state: Weights of the image model, by torchvision's names.
        model: The video model, whose names may have wrappers (`layer1.0.conv1.conv.net.weight`).
            By its `pad_channels`, channels that the image model has not start at zero.
    """
    state = torchvision_names(state)
    fitted = {}
    for name, target in model.state_dict().items():
        value = state.get(_WRAPPERS.sub('', name))
        if value is None:
            continue
        if target.ndim == 5 and value.ndim == 4:
            value = value[:, :, None].expand(-1, -1, target.shape[2], -1, -1) / target.shape[2]
            missing = target.shape[1] - value.shape[1]
            if getattr(model, 'pad_channels', False) and missing > 0:
                value = F.pad(value, (0, 0) * 3 + (0, missing))
        fitted[name] = value
    return fitted
