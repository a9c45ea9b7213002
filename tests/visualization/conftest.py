"""Small recognizers to look into."""

import pytest
import torch
from torch import nn

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

CLIP = (8, 32, 48)
CLASSES = 5


@MODELS.register_module(force=True)
class ToyConvNet(nn.Module):
    """Two convolutions, (B, 3, T, H, W) -> (B, 6, T / 2, H / 4, W / 4)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(3, 4, 3, stride=(2, 2, 2), padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv3d(4, 6, 3, stride=(1, 2, 2), padding=1)

    def forward(self, x):
        return self.second(self.relu(self.first(x)))


def build(backbone, channels):
    torch.manual_seed(5)
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=backbone,
            cls_head=dict(type='I3DHead', num_classes=CLASSES, in_channels=channels, init_std=1.0),
            data_preprocessor=dict(
                type='ActionDataPreprocessor',
                mean=[120.0] * 3,
                std=[60.0] * 3,
                format_shape='NCTHW',
            ),
        )
    )
    model.init_weights()
    return model.eval()


@pytest.fixture
def model():
    """DualFormer of two stages of which the first has both pyramid levels."""
    arch = dict(
        embed_dims=[8, 16],
        num_heads=[2, 2],
        depths=[2, 2],
        mlp_ratios=[2, 2],
        local_sizes=[(2, 4, 4), (2, 2, 2)],
        fine_pysizes=[(2, 4, 6), (2, 2, 2)],
        coarse_pysizes=[(2, 1, 1), None],
    )
    return build(dict(type='DualFormer', arch=arch, video_size=CLIP), 16)


@pytest.fixture
def conv_net():
    return build(dict(type='ToyConvNet'), 6)


@pytest.fixture
def data():
    """A batch of two clips with labels."""
    draws = torch.Generator().manual_seed(1)
    clips = torch.randint(0, 256, (2, 1, 3, *CLIP), dtype=torch.uint8, generator=draws)
    samples = [ActionDataSample().set_gt_label(label) for label in (3, 1)]
    return dict(inputs=list(clips), data_samples=samples)
