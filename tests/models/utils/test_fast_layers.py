"""All layers that compute faster on CPUs: which are taken, and that recognizers have them."""

import pytest
import torch
from torch import nn

from mmaction.models.utils import linear_cpu
from mmaction.models.utils.conv3d_cpu import Conv3d
from mmaction.models.utils.depthwise_cpu import DepthwiseConv3d
from mmaction.models.utils.fast_layers import use_fast_layers
from mmaction.models.utils.linear_cpu import Linear
from mmaction.registry import MODELS


class Own(nn.Conv3d):
    pass


@pytest.mark.parametrize(
    ('layer', 'kind'),
    [
        (nn.Conv3d(8, 8, 1), Conv3d),
        (nn.Conv3d(1, 1, 3), Conv3d),
        (nn.Conv3d(8, 6, 3, stride=2, padding=1), Conv3d),
        (nn.Conv3d(8, 8, 3, padding=(3, 1, 1)), Conv3d),
        (nn.Conv3d(8, 8, 3, padding=1, groups=8), DepthwiseConv3d),
        (nn.Conv3d(8, 8, (3, 1, 1), (1, 4, 2), groups=8), DepthwiseConv3d),
        (nn.Conv3d(8, 8, 3, padding=(3, 1, 1), groups=8), nn.Conv3d),
        (nn.Conv3d(8, 8, 3, groups=4), nn.Conv3d),
        (nn.Conv3d(8, 16, 3, groups=8), nn.Conv3d),
        *(
            (nn.Conv3d(8, 8, 3, groups=groups, **other), nn.Conv3d)
            for groups in (1, 8)
            for other in (
                dict(dilation=2),
                dict(padding='same'),
                dict(padding=1, padding_mode='replicate'),
            )
        ),
        (Own(8, 8, 3), Own),
        (Own(8, 8, 3, groups=8), Own),
        (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d),
    ],
    ids=repr,
)
def test_which_layers_are_taken(layer, kind):
    x = torch.randn(1, layer.in_channels, *[6, 6, 6][: len(layer.kernel_size)])
    names, expected = list(layer.state_dict()), layer(x)
    use_fast_layers(nn.ModuleList([layer]))
    assert type(layer) is kind
    assert list(layer.state_dict()) == names
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_recognizers_have_them(monkeypatch):
    monkeypatch.setattr(linear_cpu, 'GAINS', True)
    backbone = dict(type='X3D', gamma_w=1.0, gamma_b=2.25, gamma_d=1.0)
    head = dict(type='X3DHead', num_classes=4, in_channels=432)
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head))
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv3d, nn.Linear))]
    assert {type(layer) for layer in layers} == {Conv3d, DepthwiseConv3d, Linear}
    # That of the stem, and one in each block.
    assert sum(type(layer) is DepthwiseConv3d for layer in layers) == 1 + 11
