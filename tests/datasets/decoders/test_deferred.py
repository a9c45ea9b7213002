"""Crops and resizes in the decoder: the same draws, nearly the same pixels as by OpenCV."""

import random

import numpy as np
import pytest

from mmaction.datasets.decoders import PyAVReader, pyav_reader
from mmaction.datasets.decoders.deferred import DeferredFrames
from mmaction.errors import UnreadableVideoError
from mmaction.registry import TRANSFORMS
from tests.video_factory import write_broken, write_video

STEPS = {
    'train': [
        dict(type='Resize', scale=(-1, 96)),
        dict(type='RandomResizedCrop'),
        dict(type='Resize', scale=(64, 64), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
    ],
    'test': [dict(type='Resize', scale=(-1, 64)), dict(type='CenterCrop', crop_size=64)],
    'crop': [dict(type='RandomCrop', size=65)],
    'scales': [
        dict(type='MultiScaleCrop', input_size=64, scales=(1, 0.8), random_crop=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=False),
    ],
    'three': [dict(type='Resize', scale=(-1, 64)), dict(type='ThreeCrop', crop_size=64)],
    'lazy': [
        dict(type='RandomResizedCrop', lazy=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=False, lazy=True),
        dict(type='Flip', lazy=True),
        dict(type='Fuse'),
    ],
    'cubic': [dict(type='Resize', scale=(-1, 64), interpolation='bicubic')],
}
VIDEOS = {
    'upright.mp4': dict(width=214, height=120),
    'turned.mp4': dict(width=214, height=120, rotation=90),
    'odd.mp4': dict(width=213, height=121, pix_fmt='yuv444p'),
}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp('deferred')
    return {name: write_video(root / name, 20, **kinds) for name, kinds in VIDEOS.items()}


def run(path, steps, seed, **kwargs):
    """What a pipeline makes of four frames of a video, and what it draws afterwards."""
    random.seed(seed)
    np.random.seed(seed)
    results = dict(filename=str(path), frame_inds=np.array([3, 3, 11, 8]))
    for step in [dict(type='DecordInit'), dict(type='DecordDecode', **kwargs), *steps]:
        results = TRANSFORMS.build(step)(results)
    drawn = random.random(), np.random.rand()
    imgs = results.pop('imgs')
    return results, np.asarray(imgs), drawn


@pytest.mark.parametrize('video', VIDEOS)
@pytest.mark.parametrize('name', STEPS)
def test_same_draws_and_nearly_the_same_pixels(videos, video, name):
    for seed in range(3):
        plain, expected, drawn = run(videos[video], STEPS[name], seed)
        found, imgs, drawn_again = run(videos[video], STEPS[name], seed, in_decoder=True)
        assert drawn_again == drawn
        assert (imgs.shape, imgs.dtype) == (expected.shape, np.uint8)
        for key in ('img_shape', 'original_shape', 'crop_bbox', 'flip', 'scale_factor'):
            assert np.array_equal(found.get(key), plain.get(key)), key
        distance = np.abs(imgs.astype(int) - expected).mean()
        if name in ('crop', 'cubic'):
            assert distance == 0
        else:
            # Edges of black and white blocks; a box that is off by 4 pixels gives more than 7.
            assert distance < 6


def test_full_frames_are_not_converted(videos, monkeypatch):
    sizes = []
    batch = pyav_reader.FrameBatch

    class Spied(batch):
        def add(self, frame):
            shown = self._upright(frame)
            sizes.append((shown.width, shown.height))
            super().add(frame)

    monkeypatch.setattr(pyav_reader, 'FrameBatch', Spied)
    run(videos['upright.mp4'], STEPS['train'], 0, in_decoder=True)
    assert set(sizes) == {(64, 64)}


def test_frames_are_those_asked_for(videos):
    reader = PyAVReader(str(videos['upright.mp4']))
    frames = DeferredFrames(reader, [7, 2, 7], reader.size())
    assert frames.shape == (3, 120, 214, 3)
    assert len(frames) == 3
    expected = PyAVReader(str(videos['upright.mp4'])).get_batch([7, 2, 7])
    assert np.array_equal(frames.load(), expected)


def test_size_is_that_of_upright_frames(videos):
    assert PyAVReader(str(videos['turned.mp4'])).size() == (120, 214)
    assert PyAVReader(str(videos['odd.mp4'])).size() == (213, 121)


def test_damaged_files_fail_as_without(tmp_path):
    path = write_broken(tmp_path / 'clip.mp4', 'too few frames')
    reader = PyAVReader(str(path))
    frames = DeferredFrames(reader, [len(reader) - 1], reader.size()).resize((32, 32))
    with pytest.raises(UnreadableVideoError, match='damaged or missing'):
        frames.load()
