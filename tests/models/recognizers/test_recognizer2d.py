"""Recognizer2D, and what both recognizers do with networks of several outputs."""

import pytest
import torch

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

SMALL = dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
PATHWAY = dict(depth=50, pretrained=None, stage_blocks=(1, 1, 1, 1), norm_eval=False)


def build(kind):
    """TSN, TSM of two segments, or SlowFast, whose backbone gives a tuple of maps."""
    slow = dict(PATHWAY, type='resnet3d', lateral=True, base_channels=16, conv1_kernel=(1, 7, 7))
    slow.update(inflate=(0, 0, 1, 1), conv1_stride_t=1, pool1_stride_t=1, dilations=(1, 1, 1, 1))
    fast = dict(PATHWAY, type='resnet3d', lateral=False, base_channels=2, conv1_kernel=(5, 7, 7))
    fast.update(conv1_stride_t=1, pool1_stride_t=1)
    backbone, head = dict(
        tsn=(dict(type='ResNet', **SMALL), dict(type='TSNHead', in_channels=128)),
        tsm=(
            dict(type='ResNetTSM', num_segments=2, **SMALL),
            dict(type='TSMHead', in_channels=128, num_segments=2),
        ),
        slowfast=(
            dict(
                type='ResNet3dSlowFast',
                resample_rate=4,
                speed_ratio=4,
                channel_ratio=8,
                slow_pathway=slow,
                fast_pathway=fast,
            ),
            dict(type='SlowFastHead', in_channels=576),
        ),
    )[kind]
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='Recognizer3D' if kind == 'slowfast' else 'Recognizer2D',
            backbone=backbone,
            cls_head=dict(head, num_classes=3, average_clips='score'),
        )
    ).eval()
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    return model


@pytest.mark.parametrize(
    ('kind', 'shape', 'at_once', 'largest'),
    [
        ('tsn', (2, 6, 3, 32, 32), 5, 5),  # frames of both videos
        ('tsm', (2, 6, 3, 32, 32), 4, 4),
        ('slowfast', (2, 3, 3, 8, 32, 32), 2, 2),
    ],
)
def test_max_testing_views_changes_no_score(kind, shape, at_once, largest):
    model, inputs = build(kind), torch.randn(shape)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))

    def scores():
        with torch.no_grad():
            done = model(inputs, [ActionDataSample() for _ in inputs], mode='predict')
        return torch.stack([sample.pred_score for sample in done])

    expected = scores()
    assert seen == [shape[0] * shape[1]]
    model.test_cfg['max_testing_views'] = at_once
    torch.testing.assert_close(scores(), expected, rtol=1e-4, atol=1e-4)
    assert max(seen[1:]) == largest
    assert sum(seen[1:]) == shape[0] * shape[1]
    assert (expected[0] - expected[1]).abs().max() > 1e-2  # videos are told apart


def test_max_testing_views_keeps_the_nesting_of_outputs():
    model, inputs = build('slowfast'), torch.randn(1, 3, 3, 8, 32, 32)
    with torch.no_grad():
        whole = model(inputs, stage='backbone')
        model.test_cfg['max_testing_views'] = 1
        parts = model.extract_feat(inputs, stage='backbone', test_mode=True)[0]
    assert type(parts) is type(whole) is tuple
    for part, map_ in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, map_)


def test_max_testing_views_that_parts_a_crop_is_refused():
    model = build('tsm')
    model.test_cfg['max_testing_views'] = 3
    with pytest.raises(
        ValueError, match='max_testing_views=3 must be a multiple of num_segments=2'
    ):
        model(torch.randn(1, 6, 3, 32, 32), [ActionDataSample()], mode='predict')


def test_frames_of_clips_are_those_of_all_views_in_order():
    model = build('tsn')
    clips = torch.randn(2, 2, 3, 4, 32, 32)  # 2 views of 4 frames
    frames = [clips[n, view, :, t] for n in range(2) for view in range(2) for t in range(4)]
    with torch.no_grad():
        found = model(clips, stage='head')
        expected = model(torch.stack(frames).unflatten(0, (2, 8)), stage='head')
        alone = torch.stack([model(frame[None, None], stage='head')[0] for frame in frames])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, alone.unflatten(0, (2, 8)).mean(1), rtol=1e-4, atol=1e-4)
