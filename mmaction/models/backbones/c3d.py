"""C3D: eight 3x3x3 convolutions with poolings between, and two linear layers.

Shapes: clips (N, C, T, H, W).
"""

from __future__ import annotations

from typing import Any

from mmengine.model import normal_init
from torch import Tensor, nn

from mmaction.models.common.cnn import CNNBackbone
from mmaction.models.common.layers import ConvModule
from mmaction.registry import MODELS
from mmaction.utils import OptConfigType

__all__ = ['C3D']

# channels of the convolutions of each stage
STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@MODELS.register_module()
class C3D(CNNBackbone):
    """C3D on clips of 16 frames of 112 x 112.

    Args:
        pretrained: Weights of this network that `init_weights` loads.
        style: No effect; accepted since published configs have it.
        conv_cfg: Config of the convolutions; None is 3-D.
        norm_cfg: Config of the norms; None: there are none.
        act_cfg: Config of the activations; None is ReLU.
        out_dim: Numbers in the last map, which depend on the size of clips.
        dropout_ratio: Dropout between the linear layers.
        init_std: Standard deviation of their first weights.

    Source: arXiv:1412.0767.
    """

    cam_layer = 'conv5b'
    stem_names = ()

    def __init__(
        self,
        pretrained: str | None = None,
        style: str = 'pytorch',
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        act_cfg: OptConfigType = None,
        out_dim: int = 8192,
        dropout_ratio: float = 0.5,
        init_std: float = 0.005,
    ) -> None:
        super().__init__(pretrained, pretrained2d=False)
        self.init_std = init_std
        layers: dict[str, Any] = dict(conv_cfg=conv_cfg or dict(type='Conv3d'), norm_cfg=norm_cfg)
        layers['act_cfg'] = act_cfg or dict(type='ReLU')
        wide = 3
        for i, channels in enumerate(STAGES, 1):
            for letter, out in zip('ab', channels, strict=False):
                self.add_module(f'conv{i}{letter}', ConvModule(wide, out, 3, **layers))
                wide = out
            kernel = (1, 2, 2) if i == 1 else (2, 2, 2)
            padding = (0, 1, 1) if i == 5 else 0
            self.add_module(f'pool{i}', nn.MaxPool3d(kernel, kernel, padding))
        self.res_layers = [name for name, _ in self.named_children()]
        self.out_indices = (len(self.res_layers) - 1,)
        self.fc6 = nn.Linear(out_dim, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout_ratio)

    def init_from_scratch(self) -> None:
        """Kaiming convolutions, normal linear layers."""
        super().init_from_scratch()
        for layer in (self.fc6, self.fc7):
            normal_init(layer, std=self.init_std)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> (N, 4096).

        Raises:
            ValueError: Clips of a size that `out_dim` does not go with.
        """
        x = super().forward(x).flatten(1)
        if x.shape[1] != self.fc6.in_features:
            raise ValueError(
                f'the last map of C3D holds {x.shape[1]} numbers, but out_dim is '
                f'{self.fc6.in_features}: clips of 16 frames of 112 x 112 have 8192'
            )
        y: Tensor = self.relu(self.fc7(self.dropout(self.relu(self.fc6(x)))))
        return y
