"""ActionDataPreprocessor: bytes in, normalized clips out."""

import pytest
import torch

from mmaction.models.data_preprocessors import ActionDataPreprocessor
from mmaction.structures import ActionDataSample

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def batch(*shapes):
    clips = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    names = [ActionDataSample(metainfo=dict(filename=f'{i}.mp4')) for i in range(len(clips))]
    return dict(inputs=clips, data_samples=names)


@pytest.mark.parametrize(
    ('format_shape', 'shape', 'axis'),
    [
        ('NCTHW', (2, 3, 4, 5, 6), 2),
        ('NCHW', (2, 3, 5, 6), 2),
        ('MIX2d3d', (3, 5, 6), 1),
        ('MIX2d3d', (3, 4, 5, 6), 1),
        ('MIX2d3d', (2, 3, 4, 5, 6), 2),
    ],
)
def test_normalizes_each_channel(device, format_shape, shape, axis):
    data = batch(shape, shape)
    preprocessor = ActionDataPreprocessor(MEAN, STD, format_shape=format_shape).to(device)
    out = preprocessor(data)['inputs']
    stacked = torch.stack(data['inputs']).double()
    for c in range(3):
        expected = (stacked.select(axis, c) - MEAN[c]) / STD[c]
        assert torch.allclose(out.select(axis, c).double(), expected, atol=1e-6)
    assert out.dtype == torch.float32


def test_casts_or_keeps_bytes_without_statistics():
    data = batch((1, 3, 2, 4, 4))
    assert ActionDataPreprocessor()(data)['inputs'].dtype == torch.float32
    assert ActionDataPreprocessor(to_float32=False)(data)['inputs'].dtype == torch.uint8
    assert not ActionDataPreprocessor(MEAN, STD).state_dict()


def test_to_rgb_reverses_the_channels(device):
    data = batch((1, 3, 2, 4, 4))
    out = ActionDataPreprocessor(to_rgb=True, format_shape='NCTHW').to(device)(data)['inputs']
    assert torch.equal(out[0], data['inputs'][0].float()[:, [2, 1, 0]])


def test_clips_are_blended_in_training_alone():
    blending = dict(type='MixupBlending', num_classes=8, alpha=1.0)
    preprocessor = ActionDataPreprocessor(blending=blending)
    for training in (False, True):
        data = batch(*[(1, 3, 2, 4, 4)] * 8)
        for label, sample in enumerate(data['data_samples']):
            sample.set_gt_label(label)
        out = preprocessor(data, training)
        kept = torch.equal(out['inputs'], torch.stack(data['inputs']).float())
        assert kept != training
        assert len(out['data_samples'][2].gt_label) == (8 if training else 1)


def test_takes_several_batches_at_once():
    data = (batch((1, 3, 2, 4, 4)), batch((1, 3, 2, 4, 4)))
    out = ActionDataPreprocessor(MEAN, STD, format_shape='NCTHW')(data)
    assert isinstance(out, tuple)
    assert out[1]['inputs'].shape == (1, 1, 3, 2, 4, 4)


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match='give both or neither'):
        ActionDataPreprocessor(mean=MEAN)
    with pytest.raises(ValueError, match="format_shape='NPTCHW'"):
        ActionDataPreprocessor(MEAN, STD, format_shape='NPTCHW')
    with pytest.raises(ValueError, match="format_shape='NPTCHW'"):
        ActionDataPreprocessor(to_rgb=True, format_shape='NPTCHW')(batch((1, 2, 3, 4, 4)))
    with pytest.raises(ValueError, match=r'differ in shape: .*0\.mp4.*1\.mp4'):
        ActionDataPreprocessor()(batch((1, 3, 2, 4, 4), (1, 3, 2, 4, 5)))


@pytest.mark.parametrize(
    ('mean', 'std', 'message'),
    [
        (MEAN, [50, 60], 'std has 2 values'),
        ([1, 2, 3, 4], STD, 'mean has 4 values'),
        (MEAN, [], 'std has 0 values'),
    ],
)
def test_statistics_of_another_number_of_channels(mean, std, message):
    preprocessor = ActionDataPreprocessor(mean, std, format_shape='NCTHW')
    with pytest.raises(
        ValueError, match=rf'^model\.data_preprocessor\.{message}, but the clips have 3 channels'
    ):
        preprocessor(batch((1, 3, 2, 4, 4)))


def test_one_value_for_all_channels():
    data = batch((1, 3, 2, 4, 4))
    out = ActionDataPreprocessor([100], [50], format_shape='NCTHW')(data)['inputs']
    assert torch.equal(out, (torch.stack(data['inputs']) - 100.0) / 50)
