"""Grad-CAM of 2-D networks: a map for each frame."""

import pytest
import torch

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM

SMALL = dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))


def build(kind):
    backbone, head = dict(
        tsn=(dict(type='ResNet', **SMALL), dict(type='TSNHead')),
        tsm=(dict(type='ResNetTSM', num_segments=4, **SMALL), dict(type='TSMHead', num_segments=4)),
        c2d=(dict(type='C2D', **SMALL), dict(type='I3DHead')),
    )[kind]
    model = dict(
        type='Recognizer3D' if kind == 'c2d' else 'Recognizer2D',
        backbone=backbone,
        cls_head=dict(head, num_classes=3, in_channels=128),
    )
    torch.manual_seed(0)
    model = MODELS.build(model).eval()
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    return model


def data(frames, videos=2):
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(frames, 3, 32, 48, generator=generator) for _ in range(videos)]
    return dict(inputs=inputs, data_samples=[ActionDataSample().set_gt_label(1)] * videos)


def test_maps_of_tsn_are_the_weighted_features_of_each_frame():
    """The mean over frames and grid makes the gradient the classifier's row over T*h*w."""
    model, batch = build('tsn'), data(frames=5)
    maps, logits, clip_shape = GradCAM(model).raw_saliency(batch, [2, 0])
    assert (logits.shape, clip_shape) == ((2, 3), (5, 32, 48))
    with torch.no_grad():
        features = model.backbone(torch.cat(batch['inputs']))
    rows = model.cls_head.fc_cls.weight[[2, 0]]
    assert features.shape == (10, 128, 4, 6)
    expected = torch.einsum('ntchw,nc->nthw', features.unflatten(0, (2, 5)), rows) / (5 * 4 * 6)
    torch.testing.assert_close(maps, expected.relu(), rtol=1e-4, atol=1e-6)


def test_crops_of_tsm_are_views():
    model = build('tsm')
    maps, logits, clip_shape = GradCAM(model).raw_saliency(data(frames=8))
    assert (maps.shape, logits.shape, clip_shape) == ((4, 4, 4, 6), (4, 3), (4, 32, 48))
    assert maps.amax((2, 3)).min() >= 0
    assert maps.any()
    blended, _ = GradCAM(model)(
        dict(data(8), inputs=[torch.zeros(8, 3, 32, 48, dtype=torch.uint8)] * 2), use_labels=True
    )
    assert blended.shape == (4, 4, 32, 48, 3)


@pytest.mark.parametrize('layer', ['backbone/layer1/0', 'backbone/layer2/-1'])
def test_frames_within_a_recognizer_of_clips(layer):
    model = build('c2d')
    inputs = [torch.randn(2, 3, 4, 32, 48)]
    maps, logits, _ = GradCAM(model, layer).raw_saliency(
        dict(inputs=inputs, data_samples=[ActionDataSample()])
    )
    assert len(maps) == len(logits) == 2
    assert maps.shape[1] in (2, 4)
