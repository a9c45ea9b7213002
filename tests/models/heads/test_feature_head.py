import pytest
import torch

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample


def build(**kwargs):
    return MODELS.build(dict(type='FeatureHead', **kwargs))


def test_pooling_of_clips_frames_and_pathways():
    x = torch.randn(4, 5, 3, 2, 6)  # (N, C, T, H, W)
    assert torch.equal(build()(x), x.mean((3, 4)).mean(2))
    assert torch.equal(build(temporal_type='max', spatial_type='max')(x), x.amax((2, 3, 4)))
    assert build(spatial_type=None, temporal_type=None)(x) is x
    frames = torch.randn(6, 5, 2, 2)
    expected = frames.unflatten(0, (2, 3)).mean((3, 4)).mean(1)
    assert torch.equal(build()(frames, num_segs=3), expected)
    tsm = build(backbone_name='tsm', num_segments=2)
    assert tsm(frames, num_segs=6).shape == (3, 5)
    slow, fast = x[:, :, :1], x[:, :2]
    both = build(backbone_name='slowfast')((slow, fast))
    torch.testing.assert_close(both, torch.cat([each.mean((2, 3, 4)) for each in (slow, fast)], 1))
    assert torch.equal(build()(torch.ones(2, 3)), torch.ones(2, 3))


def test_a_recognizer_predicts_the_mean_features_of_the_views():
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='ResNet3dSlowOnly', depth=18, lateral=False, base_channels=8),
            cls_head=dict(type='FeatureHead', average_clips='score'),
        )
    ).eval()
    clips = torch.randn(2, 3, 3, 4, 32, 32)
    with torch.no_grad():
        features = model(clips, [ActionDataSample() for _ in clips], mode='predict')
        expected = model.backbone(clips.flatten(0, 1)).mean((2, 3, 4)).unflatten(0, (2, 3)).mean(1)
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize(
    ('wrong', 'text'),
    [
        (dict(spatial_type='sum'), "spatial_type='sum' is none of"),
        (dict(backbone_name='gcn'), "backbone_name='gcn'"),
        (dict(backbone_name='tsm'), 'needs num_segments'),
        (dict(backbone_name='slowfast', temporal_type=None), 'set temporal_type'),
    ],
)
def test_arguments_are_checked(wrong, text):
    with pytest.raises(ValueError, match=text):
        build(**wrong)
