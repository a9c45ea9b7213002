import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmaction.datasets.transforms import (
    CenterCrop,
    Flip,
    Fuse,
    MultiScaleCrop,
    RandomCrop,
    RandomRescale,
    RandomResizedCrop,
    Resize,
)
from mmaction.datasets.transforms.processing import rescale_size

CODES = dict(
    nearest=cv2.INTER_NEAREST,
    bilinear=cv2.INTER_LINEAR,
    bicubic=cv2.INTER_CUBIC,
    area=cv2.INTER_AREA,
    lanczos=cv2.INTER_LANCZOS4,
)


def resized(imgs, width, height, interpolation='bilinear'):
    return np.array(
        [cv2.resize(img, (width, height), interpolation=CODES[interpolation]) for img in imgs]
    )


def by_hand_bilinear(img, width, height):
    """Bilinear interpolation between pixel centers, in floats, edges repeated."""
    out = np.empty((height, width, img.shape[2]))
    for y in range(height):
        for x in range(width):
            v = (y + 0.5) * img.shape[0] / height - 0.5
            u = (x + 0.5) * img.shape[1] / width - 0.5
            v0, u0 = int(np.floor(v)), int(np.floor(u))
            rows = np.clip([v0, v0 + 1], 0, img.shape[0] - 1)
            columns = np.clip([u0, u0 + 1], 0, img.shape[1] - 1)
            weights = np.outer([v0 + 1 - v, v - v0], [u0 + 1 - u, u - u0])
            out[y, x] = np.einsum('ij,ijc->c', weights, img[np.ix_(rows, columns)])
    return out


def test_resize_is_bilinear_between_pixel_centers(make_clip):
    results = make_clip(2, 20, 24)
    want = np.array([by_hand_bilinear(img, 17, 29) for img in results['imgs']])
    got = np.array(Resize((17, 29), keep_ratio=False)(results)['imgs'])
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize(
    ('scale', 'keep_ratio', 'size'),
    [
        ((-1, 15), True, (20, 15)),
        ((-1, 16), True, (21, 16)),
        ((15, -1), True, (20, 15)),
        ((20, 20), True, (20, 15)),
        ((100, 16), True, (21, 16)),
        ((22, 18), False, (22, 18)),
        (0.5, True, (20, 15)),
        (1.51, True, (60, 45)),
    ],
)
def test_resize(make_clip, check_form, scale, keep_ratio, size):
    results = make_clip(3, 30, 40)
    before = np.array(results['imgs'])
    results = Resize(scale, keep_ratio=keep_ratio)(results)
    check_form(results['imgs'])
    assert np.array_equal(np.array(results['imgs']), resized(before, *size))
    assert results['img_shape'] == size[::-1]
    assert results['keep_ratio'] is keep_ratio
    assert results['scale_factor'].dtype == np.float32
    assert np.allclose(results['scale_factor'], [size[0] / 40, size[1] / 30])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    new_height=st.integers(1, 50),
    new_width=st.integers(1, 50),
    interpolation=st.sampled_from(sorted(CODES)),
    channels=st.sampled_from([None, 1, 2, 3]),
    listed=st.booleans(),
)
def test_resize_of_any_shape(height, width, new_height, new_width, interpolation, channels, listed):
    shape = (2, height, width) if channels is None else (2, height, width, channels)
    imgs = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    transform = Resize((new_width, new_height), keep_ratio=False, interpolation=interpolation)
    got = np.array(transform(dict(imgs=list(imgs) if listed else imgs))['imgs'])
    if (new_height, new_width) == (height, width):
        want = imgs
    else:
        want = resized(imgs, new_width, new_height, interpolation)
    assert got.shape == (2, new_height, new_width, *shape[3:])
    assert np.array_equal(got, want.reshape(got.shape))


def test_scale_factors_multiply(make_clip):
    results = Resize((10, 10), keep_ratio=False)(Resize((20, 15))(make_clip()))
    assert np.allclose(results['scale_factor'], [10 / 40, 10 / 30])


def test_resize_to_same_size_does_not_copy():
    imgs = np.zeros((2, 30, 40, 3), np.uint8)
    assert Resize((40, 30), keep_ratio=False)(dict(imgs=imgs))['imgs'] is imgs


@pytest.mark.parametrize(
    ('size', 'scale', 'want'),
    [((340, 256), (float('inf'), 224), (298, 224)), ((340, 256), 0.5, (170, 128)),
     ((3, 5), 0.5, (2, 3)), ((320, 240), (171, 128), (171, 128)),
     ((240, 320), (171, 128), (128, 171)), ((240, 320), (128, 171), (128, 171))],
)  # fmt: skip
def test_rescale_size(size, scale, want):
    assert rescale_size(size, scale) == want


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (lambda: Resize(-0.5), ValueError, 'scale=-0.5'),
        (lambda: Resize(0.5, keep_ratio=False), ValueError, 'keep_ratio=False'),
        (lambda: Resize('224'), TypeError, "scale='224'"),
        (lambda: Resize(224), TypeError, 'scale=224'),
        (lambda: Resize((224, 0)), ValueError, r'scale=\(224, 0\)'),
        (lambda: Resize((-1, -1)), ValueError, r'scale=\(-1, -1\)'),
        (lambda: Resize((-1, 224), keep_ratio=False), ValueError, 'keep_ratio=False'),
        (lambda: Resize((2, 2), interpolation='cubic'), ValueError, "'cubic' is unknown"),
        (lambda: RandomRescale((224,)), TypeError, 'two integers'),
        (lambda: RandomRescale((0.5, 1.0)), TypeError, 'two integers'),
        (lambda: RandomRescale((320, 256)), ValueError, 'in order'),
        (lambda: Flip(direction='both'), ValueError, "direction='both'"),
        (lambda: Flip(left_kp=[1]), ValueError, 'key points are not handled'),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_resize_to_zero_pixels_names_the_clip(make_clip):
    with pytest.raises(ValueError, match=r'nothing of the 40x3 frames of a\.mp4'):
        Resize(0.1)(make_clip(height=3, filename='a.mp4'))


@pytest.mark.parametrize('key', ['keypoint', 'gt_bboxes', 'proposals'])
def test_unsupported_annotations_are_errors(make_clip, key):
    with pytest.raises(ValueError, match=rf"a\.mp4 has \['{key}'\]"):
        Resize(0.5)(make_clip(filename='a.mp4', **{key: np.zeros((1, 4))}))


def test_random_rescale(make_clip, check_form):
    seen = set()
    for seed in range(40):
        results = make_clip()
        before = np.array(results['imgs'])
        np.random.seed(seed)
        short = np.random.randint(20, 23)
        np.random.seed(seed)
        results = RandomRescale((20, 22))(results)
        check_form(results['imgs'])
        want = resized(before, int(40 * short / 30 + 0.5), short)
        assert np.array_equal(np.array(results['imgs']), want)
        assert results['short_edge'] == short
        seen.add(short)
    assert seen == {20, 21, 22}


@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_flip(make_clip, check_form, direction):
    results = make_clip()
    before = np.array(results['imgs'])
    results = Flip(1.0, direction)(results)
    check_form(results['imgs'])
    got = np.array(results['imgs'])
    for y in range(30):
        for x in range(40):
            source = (y, 39 - x) if direction == 'horizontal' else (29 - y, x)
            assert np.array_equal(got[:, y, x], before[:, source[0], source[1]])
    assert results['flip'] is True
    assert results['flip_direction'] == direction


def test_flip_does_not_modify_its_input(make_clip):
    results = make_clip()
    imgs = results['imgs']
    before = np.array(imgs)
    Flip(1.0)(results)
    assert np.array_equal(np.array(imgs), before)


def test_flip_ratio_is_the_flip_probability(make_clip):
    np.random.seed(1)
    draws = np.random.rand(50)
    np.random.seed(1)
    flips = [Flip(0.3)(make_clip(1, 2, 2))['flip'] for _ in range(50)]
    assert flips == [draw < 0.3 for draw in draws]
    assert any(flips)


def test_flip_label_map_with_digit_strings_as_keys(make_clip):
    """As JSON and published configs have it: {'86': 87}. Two strings are names of classes."""
    transform = Flip(1.0, flip_label_map={'4': 6, '6': 4})
    assert transform.flip_label_map == {4: 6, 6: 4}
    assert [transform(make_clip(label=label))['label'] for label in (4, 6, 5)] == [6, 4, 5]
    named = Flip(1.0, flip_label_map={'4': '6', '6': '4'})
    named.bind_classes(['6', '4'])
    assert named(make_clip(label=0))['label'] == 1
    with pytest.raises(ValueError, match='must be a dict from integer to integer'):
        Flip(1.0, flip_label_map={'left': 6})


@pytest.mark.parametrize('label', [4, np.int64(4)])
def test_flip_label_map(make_clip, label):
    transform = Flip(1.0, flip_label_map={4: 6, 6: 4})
    assert transform(make_clip(label=label))['label'] == 6
    assert transform(make_clip(label=5))['label'] == 5
    assert Flip(0.0, flip_label_map={4: 6})(make_clip(label=label))['label'] == 4


@pytest.mark.parametrize('swapped', [{'four': 6}, {4: '6'}, [4, 6], '{4: 6}'])
def test_flip_label_map_requires_integers(swapped):
    with pytest.raises(ValueError, match='must be a dict from integer to integer'):
        Flip(1.0, flip_label_map=swapped)


def test_flip_swaps_each_of_several_labels(make_clip):
    transform = Flip(1.0, flip_label_map='names')
    transform.bind_classes(['left', 'right', 'jump', 'turn left'])
    for shown, mirrored in [('1010', '0110'), ('1100', '1100'), ('0010', '0010')]:
        clip = transform(make_clip(label=torch.tensor([float(c) for c in shown])))
        assert (clip['label'].tolist(), clip['flip']) == ([float(c) for c in mirrored], True)
    # What a mirrored "turn left" shows is no class.
    clip = transform(make_clip(label=torch.tensor([1.0, 0, 0, 1.0])))
    assert (clip['label'].tolist(), clip['flip']) == ([1, 0, 0, 1], False)


def test_flip_label_map_takes_labels_as_the_dataset_gives_them(make_clip):
    with pytest.raises(TypeError, match='one integer label'):
        Flip(1.0, flip_label_map={4: 6})(make_clip(label=[4, 5]))


@pytest.mark.parametrize('channels', [None, 2])
def test_flip_of_flow_inverts_x(make_clip, check_form, channels):
    results = make_clip(channels=channels)
    before = np.array(results['imgs'])
    results = Flip(1.0)(dict(results, modality='Flow'))
    check_form(results['imgs'])
    want = before[:, :, ::-1].astype(int)
    if channels:
        want[..., 0] = 255 - want[..., 0]
    else:
        want[::2] = 255 - want[::2]
    assert np.array_equal(np.array(results['imgs']), want)


@pytest.mark.parametrize('flip', [Flip(direction='vertical'), Flip(lazy=True)])
def test_flow_flip_is_horizontal_and_not_lazy(make_clip, flip):
    with pytest.raises(ValueError, match='optical flow'):
        flip(dict(make_clip(), modality='Flow'))


@pytest.mark.parametrize(
    'crop',
    [
        lambda lazy: CenterCrop((23, 17), lazy=lazy),
        lambda lazy: RandomCrop(20, lazy=lazy),
        lambda lazy: RandomResizedCrop(lazy=lazy),
        lambda lazy: MultiScaleCrop(24, (1, 0.8, 0.6), lazy=lazy),
    ],
)
@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_fuse_equals_plain_transforms(make_clip, check_form, crop, direction):
    outcomes = []
    for lazy in (False, True):
        np.random.seed(2)
        results = make_clip()
        steps = [
            crop(lazy),
            Resize((16, 12), keep_ratio=False, interpolation='area', lazy=lazy),
            Flip(0.5 + 0.5 * (direction == 'vertical'), direction, lazy=lazy),
        ]
        random.seed(2)
        for step in steps + [Fuse()] * lazy:
            results = step(results)
        check_form(results['imgs'])
        outcomes.append(results)
    plain, lazy_results = outcomes
    assert np.array_equal(np.array(plain['imgs']), np.array(lazy_results['imgs']))
    assert 'lazy' not in lazy_results
    for key in ('img_shape', 'flip', 'flip_direction', 'keep_ratio'):
        assert plain[key] == lazy_results[key]
    for key in ('crop_bbox', 'crop_quadruple', 'scale_factor'):
        assert np.array_equal(plain[key], lazy_results[key])


@pytest.mark.parametrize(
    ('size', 'crop', 'box', 'rounded'),
    [
        ((80, 60), (40, 20), [10, 10, 30, 20], (10, 10, 30, 20)),
        ((64, 48), (42, 20), [6.875, 8.75, 33.125, 21.25], (7, 9, 33, 21)),
    ],
)
def test_fuse_crops_whole_pixels_before_resizing(make_clip, size, crop, box, rounded):
    results = make_clip(height=30, width=40)
    before = np.array(results['imgs'])
    for step in (Resize(size, lazy=True), CenterCrop(crop, lazy=True)):
        results = step(results)
    assert results['lazy']['crop_bbox'].tolist() == box
    got = np.array(Fuse()(results)['imgs'])
    left, top, right, bottom = rounded
    assert np.array_equal(got, resized(before[:, top:bottom, left:right], *crop))


def test_lazy_crops_of_crops(make_clip):
    results = make_clip(height=30, width=40)
    before = np.array(results['imgs'])
    for step in (CenterCrop((20, 18), lazy=True), Resize((40, 36)), CenterCrop((20, 12))):
        step.lazy = True
        results = step(results)
    got = np.array(Fuse()(results)['imgs'])
    assert np.array_equal(got, resized(before[:, 12:18, 15:25], 20, 12))


def test_lazy_transforms_do_not_touch_pixels(make_clip):
    results = make_clip()
    imgs = results['imgs']
    for step in (RandomResizedCrop(lazy=True), Resize((9, 9), lazy=True), Flip(1, lazy=True)):
        results = step(results)
    assert results['imgs'] is imgs
    assert results['lazy']['flip'] is True


def test_lazy_needs_fuse(make_clip):
    with pytest.raises(ValueError, match='Fuse has nothing to do'):
        Fuse()(make_clip())
    with pytest.raises(ValueError, match='put Fuse before'):
        Resize(0.5)(CenterCrop(20, lazy=True)(make_clip()))
    with pytest.raises(ValueError, match='Flip must come after'):
        CenterCrop(20, lazy=True)(Flip(1.0, lazy=True)(make_clip()))


def test_repr():
    assert repr(Resize((-1, 256))) == (
        'Resize(scale=(inf, 256), keep_ratio=True, interpolation=bilinear, lazy=False)'
    )
    assert repr(RandomRescale((256, 320))) == (
        'RandomRescale(scale_range=(256, 320), interpolation=bilinear)'
    )
    assert repr(Flip(1, 'vertical')) == (
        'Flip(flip_ratio=1, direction=vertical, flip_label_map=None, lazy=False)'
    )
    assert repr(Fuse()) == 'Fuse()'
