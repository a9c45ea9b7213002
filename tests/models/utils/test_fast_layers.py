"""All layers that compute faster on CPUs, in recognizers."""

from torch import nn

from mmaction.models.utils import linear_cpu
from mmaction.models.utils.conv3d_cpu import Conv3d
from mmaction.models.utils.depthwise_cpu import DepthwiseConv3d
from mmaction.models.utils.linear_cpu import Linear
from mmaction.registry import MODELS


def test_recognizers_have_them(monkeypatch):
    monkeypatch.setattr(linear_cpu, 'GAINS', True)
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='X3D', gamma_w=1, gamma_b=2.25, gamma_d=2.2),
            cls_head=dict(type='X3DHead', in_channels=432, num_classes=4),
        )
    )
    kinds = {type(m) for m in model.modules() if isinstance(m, (nn.Conv3d, nn.Linear))}
    assert kinds == {Conv3d, DepthwiseConv3d, Linear}
