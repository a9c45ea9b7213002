"""Transforms of other packages between those of this one."""

from contextlib import closing

import cv2
import numpy as np
import pytest

from mmaction.apis.inference import load_clip
from mmaction.datasets import RepeatAugDataset, SampleKey, VideoDataset
from mmaction.datasets.transforms import BaseTransform
from mmaction.datasets.transforms.pipeline import Pipeline
from mmaction.registry import TRANSFORMS
from mmaction.utils.forked_call import ForkedCall
from tests.video_factory import write_video

LOADING = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2),
    dict(type='DecordDecode'),
]
PACKING = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
RESIZE = dict(type='Resize', scale=(32, 32), keep_ratio=False)


@pytest.fixture
def files(tmp_path):
    write_video(tmp_path / 'a.mp4')
    (tmp_path / 'list.txt').write_text('a.mp4 0\n')
    return dict(ann_file=str(tmp_path / 'list.txt'), data_prefix=dict(video=str(tmp_path)))


class Scaled(BaseTransform):
    """Writes floats into the list, as transforms for mmaction2 do."""

    def transform(self, results):
        for i, img in enumerate(results['imgs']):
            results['imgs'][i] = img.astype(np.float32) / 255
        return results


class Smaller:
    """A transform without a base class."""

    def __call__(self, results):
        for i, img in enumerate(results['imgs']):
            results['imgs'][i] = cv2.resize(img, (16, 8))
        return results


def there_and_back(results):
    results['imgs'] = results['imgs'] + results['imgs'][::-1]
    results['clip_len'] *= 2
    return results


def sample(files, *steps):
    return VideoDataset(pipeline=[*LOADING, *steps, *PACKING], **files)[SampleKey(0)]['inputs']


@pytest.mark.parametrize('before', [[], [RESIZE]])
def test_other_transforms_find_a_list(files, before):
    plain = sample(files, *before)
    np.testing.assert_allclose(sample(files, *before, Scaled()), plain / 255.0, atol=1e-6)
    assert sample(files, *before, Smaller()).shape == (1, 3, 4, 8, 16)
    twice = sample(files, *before, there_and_back)
    assert np.array_equal(twice[:, :, :4], plain)
    assert np.array_equal(twice[:, :, 4:], plain.flip(2))


def test_steps_after_another_transform(files):
    flip = dict(type='Flip', flip_ratio=1)
    changed = sample(files, lambda results: results, RESIZE, flip)
    assert np.array_equal(changed, sample(files, RESIZE, flip))


def test_other_transforms_in_repeated_augmentation(files):
    data = RepeatAugDataset(pipeline=[*LOADING, RESIZE, Scaled(), *PACKING], **files)
    assert all(float(clip['inputs'].max()) <= 1 for clip in data[0])
    assert 0.1 < float(data[0][0]['inputs'].mean()) < 0.9


def test_other_transforms_in_inference(files, monkeypatch):
    steps = [*LOADING, RESIZE, dict(type='ToFloats'), *PACKING]
    monkeypatch.setitem(TRANSFORMS.module_dict, 'ToFloats', Scaled)
    inputs = load_clip(None, f'{files["data_prefix"]["video"]}/a.mp4', steps)['inputs']
    assert 0.1 < float(inputs.mean()) < 0.9


class Failing(BaseTransform):
    def transform(self, results):
        return results['nothing']


def test_transforms_of_the_package_keep_their_array():
    jitter = TRANSFORMS.build(dict(type='ColorJitter'))
    imgs = np.zeros((2, 8, 8, 3), np.uint8)
    assert isinstance(Pipeline([jitter])(dict(imgs=imgs))['imgs'], np.ndarray)


@pytest.mark.parametrize('kind', [VideoDataset, RepeatAugDataset])
def test_an_error_of_a_dataset_names_the_transform(files, kind):
    with pytest.raises(KeyError) as caught:
        kind(pipeline=[*LOADING, Failing(), *PACKING], **files)[0]
    assert caught.value.raised_in.startswith('Failing, ')


def test_an_error_names_transform_and_line():
    steps = [TRANSFORMS.build(RESIZE), Failing()]
    imgs = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(KeyError) as caught:
        Pipeline(steps)(dict(imgs=imgs))
    line = Failing.transform.__code__.co_firstlineno + 1
    assert caught.value.raised_in == f'Failing, {__file__}, line {line}'
    reading = ForkedCall(Pipeline(steps), timeout=30)
    with closing(reading), pytest.raises(KeyError) as from_another_process:
        reading(dict(imgs=imgs))
    assert from_another_process.value.raised_in == caught.value.raised_in
    with pytest.raises(KeyError) as caught:
        Pipeline(steps)({})
    assert caught.value.raised_in == 'Resize'


def test_none_ends_the_pipeline():
    assert Pipeline([lambda results: None, Scaled()])({}) is None
