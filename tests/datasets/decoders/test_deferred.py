"""Crops and resizes in the decoder: the same draws, nearly the same pixels as by OpenCV."""

import random
from fractions import Fraction

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import PyAVReader, deferred, upright
from mmaction.datasets.transforms.base import BaseTransform
from mmaction.datasets.transforms.loading import defer_conversion
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
PACK = [dict(type='FormatShape', input_format='NCHW')]
VIDEOS = {
    'upright.mp4': dict(width=214, height=120),
    'turned.mp4': dict(width=214, height=120, rotation=90),
    'upside_down.mp4': dict(width=214, height=120, rotation=180),
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


def exact(path, steps, seed):
    """Frames, by a dataset's pipeline, which converts them when they are needed."""
    built = [TRANSFORMS.build(step) for step in (dict(type='DecordDecode'), *steps, *PACK)]
    defer_conversion(built)
    assert built[0].is_deferred
    random.seed(seed)
    np.random.seed(seed)
    results = dict(filename=str(path), frame_inds=np.array([3, 3, 11, 8]), num_clips=1, clip_len=4)
    results = TRANSFORMS.build(dict(type='DecordInit'))(results)
    for step in built:
        results = step(results)
    return results['imgs'], (random.random(), np.random.rand())


@pytest.mark.parametrize('video', VIDEOS)
@pytest.mark.parametrize('name', STEPS)
def test_pixels_are_those_of_one_step_after_the_other(videos, video, name):
    for seed in range(6):
        _, expected, drawn = run(videos[video], STEPS[name], seed)
        imgs, drawn_again = exact(videos[video], STEPS[name], seed)
        assert drawn_again == drawn
        assert np.array_equal(imgs, np.moveaxis(expected, 3, 1))


@pytest.mark.parametrize('pix_fmt', ['yuv420p', 'yuvj420p', 'yuv422p', 'yuv444p', 'yuv420p10le'])
@pytest.mark.parametrize('size', [(214, 120), (213, 121), (340, 256)])
def test_conversion_of_a_box_gives_the_pixels_of_the_frame(pix_fmt, size):
    """Of noise, in which each chroma sample counts."""
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(*size, pix_fmt)
    frame.time_base = Fraction(1, 25)
    for plane in frame.planes:
        kind, top = (np.uint16, 1024) if pix_fmt.endswith('le') else (np.uint8, 256)
        count = plane.buffer_size // kind().itemsize
        plane.update(rng.integers(0, top, count, kind).tobytes())
    whole = deferred.DeferredFrames([frame]).load()
    for _ in range(40):
        left, right = np.sort(rng.choice(size[0] + 1, 2, replace=False)).tolist()
        top, bottom = np.sort(rng.choice(size[1] + 1, 2, replace=False)).tolist()
        part = deferred.DeferredFrames([frame]).crop((left, top, right, bottom)).load()
        assert np.array_equal(part, whole[:, top:bottom, left:right]), (left, top, right, bottom)


def test_little_more_than_the_box_is_converted(videos, monkeypatch):
    sizes = []
    pixels = upright.rgb_pixels

    def spied(frame):
        sizes.append((frame.width, frame.height))
        return pixels(frame)

    monkeypatch.setattr(upright, 'rgb_pixels', spied)
    frames = PyAVReader(str(videos['upright.mp4'])).get_deferred([3])
    frames.crop((11, 7, 30, 20)).crop((2, 1, 12, 10)).load()
    assert sizes == [(12, 10)]  # from x = 13 to 23 and y = 8 to 17


def test_transforms_of_others_see_arrays():
    class Own(BaseTransform):
        def transform(self, results):
            return results

    class OwnResize(TRANSFORMS.get('Resize')):
        def transform(self, results):
            return super().transform(results)

    class OwnShape(TRANSFORMS.get('FormatShape')):
        def transform(self, results):
            return super().transform(results)

    class OwnLast(BaseTransform):
        takes_deferred = True
        keeps_deferred = False

        def transform(self, results):
            return {**results, 'imgs': results['imgs'].load()}

    class OwnCall(TRANSFORMS.get('Resize')):
        def __call__(self, results):
            return super().__call__(results)

    resize, pack = (TRANSFORMS.build(step) for step in (STEPS['test'][0], PACK[0]))
    for steps, is_deferred in (
        ([resize, pack], True),
        ([resize, Own()], True),
        ([OwnResize(scale=(-1, 64)), pack], True),
        ([resize, OwnCall(scale=(-1, 64)), pack], False),
        ([resize, lambda results: results, pack], False),
        ([resize, pack, lambda results: results], True),
        ([resize, OwnShape(input_format='NCHW'), lambda results: results], True),
        ([OwnLast(), lambda results: results], True),
        ([resize], False),
        ([], False),
    ):
        decode = TRANSFORMS.build(dict(type='DecordDecode'))
        defer_conversion([decode, *steps])
        assert decode.is_deferred is is_deferred
    assert not OwnResize.takes_deferred


def test_full_frames_are_not_converted(videos, monkeypatch):
    sizes = []

    class Spied(deferred.RGBFrames):
        def __call__(self, frame):
            shown = self._upright(frame)
            sizes.append((shown.width, shown.height))
            return super().__call__(frame)

    monkeypatch.setattr(deferred, 'RGBFrames', Spied)
    run(videos['upright.mp4'], STEPS['train'], 0, in_decoder=True)
    assert set(sizes) == {(64, 64)}


def test_frames_are_those_asked_for(videos):
    path = str(videos['upright.mp4'])
    for indices in ([7, 2, 7], [2, 7, 9], [9, 2]):
        frames = PyAVReader(path).get_deferred(indices)
        assert frames.shape == (len(indices), 120, 214, 3)
        assert len(frames) == len(indices)
        expected = PyAVReader(path).get_batch(indices)
        assert np.array_equal(np.asarray(frames), expected)
        assert np.array_equal(list(frames), expected)


@pytest.mark.parametrize('indices', [[1, 2, 3, 5, 7, 8], [7, 2, 7, 1, 1, 3]])
def test_views_are_those_of_loaded_frames(videos, indices):
    facts = dict(num_clips=2, clip_len=3, num_proposals=2)
    frames = PyAVReader(str(videos['upright.mp4'])).get_deferred(indices)
    frames = frames.crop((3, 5, 90, 100))
    images = frames.load().transpose(0, 3, 1, 2)
    views = images.reshape(2, 3, *images.shape[1:])
    for input_format, expected in (
        ('NCHW', images),
        ('NCTHW', views.swapaxes(1, 2)),
        ('NPTCHW', views),
    ):
        shape = TRANSFORMS.build(dict(type='FormatShape', input_format=input_format))
        found = shape(dict(imgs=frames, **facts))['imgs']
        assert found.flags.c_contiguous
        assert np.array_equal(found, expected)


@pytest.mark.parametrize('input_format', ['NCHW', 'NCTHW'])
def test_last_step_copies_frames_once(videos, monkeypatch, input_format):
    frames = PyAVReader(str(videos['upright.mp4'])).get_deferred([2, 5])
    monkeypatch.delattr(deferred.DeferredFrames, 'load')
    shape = TRANSFORMS.build(dict(type='FormatShape', input_format=input_format))
    imgs = shape(dict(imgs=frames, num_clips=1, clip_len=2))['imgs']
    assert imgs.size == 2 * 3 * 120 * 214


@pytest.mark.parametrize(
    ('step', 'found'),
    [
        (lambda image: image[:-1], r'uint8 of shape \(119, 214, 3\)'),
        (lambda image: image / 255, r'float64 of shape \(120, 214, 3\)'),
    ],
)
def test_a_step_that_makes_something_else_is_error(videos, step, found):
    frames = PyAVReader(str(videos['upright.mp4'])).get_deferred([2, 5]).then(step, (214, 120))
    for take in (TRANSFORMS.build(PACK[0]), lambda results: results['imgs'].load()):
        with pytest.raises(ValueError, match=found):
            take(dict(imgs=frames))


def test_frames_that_do_not_fill_a_view_are_error(videos):
    shape = TRANSFORMS.build(dict(type='FormatShape', input_format='NCTHW'))
    frames = PyAVReader(str(videos['upright.mp4'])).get_deferred([1, 2, 3, 4])
    with pytest.raises(ValueError, match='has 4 frames, not a multiple of the 3'):
        shape(dict(imgs=frames, num_clips=1, clip_len=3))


def test_size_is_that_of_upright_frames(videos):
    sizes = [PyAVReader(str(videos[name])).get_deferred([0]).shape[1:3] for name in VIDEOS]
    assert sizes == [(120, 214), (214, 120), (120, 214), (121, 213)]


def test_damaged_files_fail_as_without(tmp_path):
    path = write_broken(tmp_path / 'clip.mp4', 'too few frames')
    reader = PyAVReader(str(path))
    with pytest.raises(UnreadableVideoError, match='damaged or missing'):
        reader.get_deferred([len(reader) - 1])
