"""Backbones of torchvision and timm, as `type='torchvision.swin3d_t'` or `type='timm.resnet50'`.

They make comparisons fair: the same data, recipe and tools as for DualFormer.
Names in the state dict are the library's, without a prefix, as in mmaction2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import Registry
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils.checkpoint_reading import read_checkpoint, weights_of_backbone
from mmaction.utils.suggest import did_you_mean

from .dualformer_weights import mismatches

__all__ = ['ExternalBackbone', 'TimmBackbone', 'TorchvisionBackbone']

_HEADS = ('fc', 'head', 'heads', 'classifier')


class ExternalBackbone(nn.Module):
    """A network of another library without its classifier.

    Args:
        pretrained: Weights that `init_weights` loads: True for the library's
            own, or a path or address; False or None for none.
        feature_shape: Axes of what an image model gives: 'NCHW', 'NHWC' or 'NLC'
            (tokens); by default the network tells.
        kwargs: Arguments of the library's constructor.

    Raises:
        ValueError: Another `feature_shape`.
    """

    name: str
    net: Any

    def __init__(
        self,
        pretrained: bool | str | None = None,
        feature_shape: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if feature_shape not in (None, 'NCHW', 'NHWC', 'NLC'):
            raise ValueError(f"feature_shape={feature_shape!r} is none of 'NCHW', 'NHWC', 'NLC'")
        self.pretrained = pretrained
        self.feature_shape = feature_shape
        net, self._head_names = self._make(**kwargs)
        # Not as a sub-module, which would put `net.` before all names: this module
        # holds the network's own dicts of weights and sub-modules instead.
        self.__dict__['net'] = net
        for part in ('_modules', '_parameters', '_buffers', '_non_persistent_buffers_set'):
            self.__dict__[part] = net.__dict__[part]

    def _make(self, **kwargs: Any) -> tuple[nn.Module, tuple[str, ...]]:
        """The network, and what the names of its classifier's weights begin with."""
        raise NotImplementedError

    def _own_weights(self) -> str:
        """The address of the library's weights."""
        raise NotImplementedError

    def _read(self, source: str) -> dict[str, Tensor]:
        """Weights of a file or address by the names of the network, without the classifier's."""
        weights = weights_of_backbone(read_checkpoint(source))
        state = {name.removeprefix('net.'): value for name, value in weights.items()}
        return {k: v for k, v in state.items() if not k.startswith(self._head_names)}

    def train(self, mode: bool = True) -> ExternalBackbone:
        """Switch the mode."""
        self.net.train(mode)
        self.training = mode
        return self

    def init_weights(self) -> None:
        """Load `pretrained`, all of it but the classifier.

        Raises:
            CheckpointError: It cannot be read or fetched.
            ValueError: It does not fit; the names that differ are listed.
        """
        if not self.pretrained:
            return
        source = self._own_weights() if self.pretrained is True else self.pretrained
        state = self._read(source)
        own = self.net.state_dict()
        if wrong := mismatches(state, own):
            listed = '\n  '.join(wrong)
            raise ValueError(f'{source} does not fit {self.name}:\n  {listed}')
        self.net.load_state_dict(state)
        print_log(f'Loaded {len(state)} of {len(own)} tensors from {source}', logger='current')


class _Keep(nn.Module):
    """Stands where a network pools, and keeps the map that arrives there."""

    map: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.map = x
        return x


class TorchvisionBackbone(ExternalBackbone):
    """A model of torchvision: of videos, such as `swin3d_t`, `mvit_v2_s`, `s3d`, or of images.

    Gives the map before the pooling, (B, C, T', H', W') or (B, C, H', W'), or, of a
    model that classifies by a token (MViT), that token as (B, C, 1, 1, 1). Of an
    image model with `features` (DenseNet) it is what these give, as in mmaction2.
    """

    def _make(self, **kwargs: Any) -> tuple[nn.Module, tuple[str, ...]]:
        from torchvision.models import get_model

        net = get_model(self.name, weights=None, **kwargs)
        heads = tuple(name for name in _HEADS if hasattr(net, name))
        for name in heads:
            setattr(net, name, nn.Identity())
        if hasattr(net, 'avgpool'):
            net.avgpool = _Keep()
        return net, tuple(f'{name}.' for name in heads)

    def _own_weights(self) -> str:
        from torchvision.models import get_model_weights

        weights: Any = get_model_weights(self.name)
        return str(weights.DEFAULT.url)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, C, T', H', W'), or (B, 3, H, W) -> (B, C, H', W')."""
        if x.ndim == 4 and hasattr(self.net, 'features'):
            return _channels_first(self.net.features(x), self.feature_shape)
        out = self.net(x)
        keep = getattr(self.net, 'avgpool', None)
        if not isinstance(keep, _Keep):
            y: Tensor = out[(...,) + (None,) * (x.ndim - out.ndim)]
            return y
        kept, keep.map = keep.map, None
        assert kept is not None
        return kept


class TimmBackbone(ExternalBackbone):
    """An image model of timm, which sees single frames; for `Recognizer2D`.

    Gives its pooled features as (B, C, 1, 1), or, with `feature_shape`, the map or
    the tokens before the pooling, as mmaction2 sees them.
    """

    def _make(self, **kwargs: Any) -> tuple[nn.Module, tuple[str, ...]]:
        import timm

        with_head: Any = timm.create_model(self.name, pretrained=False, **kwargs)
        heads = with_head.pretrained_cfg.get('classifier') or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        with_head.reset_classifier(0)
        return with_head, tuple(f'{name}.' for name in heads)

    def _own_weights(self) -> str:
        return f'timm://{self.name}'

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, 1, 1), or with `feature_shape` (B, C, H', W')."""
        if self.feature_shape:
            return _channels_first(self.net.forward_features(x), self.feature_shape)
        y: Tensor = self.net(x)[:, :, None, None]
        return y


def _channels_first(x: Tensor, feature_shape: str | None) -> Tensor:
    """Features in the axes of `feature_shape` -> (B, C, H, W), tokens as (B, C, L, 1)."""
    if feature_shape == 'NHWC':
        return x.permute(0, 3, 1, 2)
    return x.mT[..., None] if feature_shape == 'NLC' else x


class _Library(Registry):
    """The models of a library under their own names."""

    def __init__(self, scope: str, base: type[ExternalBackbone]) -> None:
        super().__init__('model', parent=MODELS, scope=scope)
        self._base = base

    def get(self, key: str) -> type[ExternalBackbone]:
        """The backbone of a name.

        Raises:
            ValueError: The library has no such model.
        """
        if key not in self._module_dict:
            known = list(self._known())
            if key not in known and key.split('.')[0] not in known:
                hint = did_you_mean(key, known, count=3)
                raise ValueError(f'{self.scope} has no model {key!r}{hint}')
            self._module_dict[key] = type(key, (self._base,), dict(name=key))
        return self._module_dict[key]

    def _known(self) -> Iterable[str]:
        if self._base is TimmBackbone:
            import timm

            return timm.list_models()
        from torchvision import models

        return [*models.list_models(module=models.video), *models.list_models(module=models)]


TORCHVISION = _Library('torchvision', TorchvisionBackbone)
TIMM = _Library('timm', TimmBackbone)
