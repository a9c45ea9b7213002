import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmaction.datasets.transforms import (
    CenterCrop,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    TenCrop,
    ThreeCrop,
)


def cut(imgs, left, top, width, height):
    """The plain way: pixel rows and columns picked one by one."""
    rows, columns = range(top, top + height), range(left, left + width)
    return np.array([[[img[y, x] for x in columns] for y in rows] for img in imgs])


def assert_crop(before, results, left, top, width, height):
    assert np.array_equal(np.array(results['imgs']), cut(before, left, top, width, height))
    assert results['img_shape'] == (height, width)
    assert results['crop_bbox'].tolist() == [left, top, left + width, top + height]


def test_center_crop(make_clip, check_form):
    results = make_clip(height=31, width=40)
    before = np.array(results['imgs'])
    results = CenterCrop((22, 20))(results)
    check_form(results['imgs'])
    assert_crop(before, results, 9, 5, 22, 20)
    assert np.allclose(results['crop_quadruple'], [9 / 40, 5 / 31, 22 / 40, 20 / 31])
    assert results['crop_quadruple'].dtype == np.float32


def test_nested_crops_accumulate_crop_quadruple(make_clip):
    results = CenterCrop(10)(CenterCrop(20)(make_clip(height=30, width=40)))
    assert np.allclose(results['crop_quadruple'], [15 / 40, 10 / 30, 10 / 40, 10 / 30])


@pytest.mark.parametrize('seed', range(6))
def test_random_crop_samples_y_before_x(make_clip, check_form, seed):
    results = make_clip()
    before = np.array(results['imgs'])
    np.random.seed(seed)
    top, left = np.random.randint(0, 30 - 28), np.random.randint(0, 40 - 28)
    np.random.seed(seed)
    results = RandomCrop(28)(results)
    check_form(results['imgs'])
    assert_crop(before, results, left, top, 28, 28)


def test_full_size_random_crop_uses_no_randomness(make_clip):
    results = make_clip(height=12, width=12)
    state = np.random.get_state()[1].copy()
    assert RandomCrop(12)(results)['crop_bbox'].tolist() == [0, 0, 12, 12]
    assert np.array_equal(np.random.get_state()[1], state)


def resized_crop_box(height, width, area_range, ratio_range):
    """Ten candidates drawn at once, one by one tried; else the centered square."""
    ratios = np.random.uniform(math.log(ratio_range[0]), math.log(ratio_range[1]), size=10)
    shares = np.random.uniform(area_range[0], area_range[1], size=10)
    for log_ratio, share in zip(ratios, shares, strict=True):
        area = share * height * width
        w = round(math.sqrt(area * math.exp(log_ratio)))
        h = round(math.sqrt(area / math.exp(log_ratio)))
        if w <= width and h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side, side


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    seed=st.integers(0, 2**32 - 1),
    ratios=st.sampled_from([(3 / 4, 4 / 3), (0.1, 0.2), (5.0, 9.0)]),
)
def test_random_resized_crop_box(height, width, seed, ratios):
    boxes = []
    for draw in (resized_crop_box, RandomResizedCrop.get_crop_bbox):
        np.random.seed(seed)
        random.seed(seed)
        args = (height, width) if draw is resized_crop_box else ((height, width),)
        boxes.append(draw(*args, (0.08, 1.0), ratios))
    left, top, w, h = boxes[0]
    assert boxes[1] == (left, top, left + w, top + h)


def test_random_resized_crop_falls_back_to_the_centered_square():
    assert RandomResizedCrop.get_crop_bbox((20, 50), (1.0, 1.0), (0.5, 0.5)) == (15, 0, 35, 20)


def test_random_resized_crop(make_clip, check_form):
    results = make_clip()
    before = np.array(results['imgs'])
    np.random.seed(5)
    random.seed(5)
    box = resized_crop_box(30, 40, (0.3, 0.6), (0.8, 1.25))
    np.random.seed(5)
    random.seed(5)
    results = RandomResizedCrop((0.3, 0.6), (0.8, 1.25))(results)
    check_form(results['imgs'])
    assert_crop(before, results, *box)


def test_random_resized_crop_is_a_view_of_an_array():
    imgs = np.zeros((2, 30, 40, 3), np.uint8)
    assert np.shares_memory(RandomResizedCrop()(dict(imgs=imgs))['imgs'], imgs)


def multi_scale_box(height, width, size, scales, gap, places):
    sides = [int(min(height, width) * scale) for scale in scales]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= gap]
    w, h = random.choice(pairs)
    w = size[0] if abs(w - size[0]) < 3 else w
    h = size[1] if abs(h - size[1]) < 3 else h
    if places is None:
        return random.randint(0, width - w), random.randint(0, height - h), w, h
    x, y = random.choice(places)
    return (width - w) // 4 * x, (height - h) // 4 * y, w, h


FIVE = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
THIRTEEN = FIVE + [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]


@pytest.mark.parametrize(
    ('options', 'places'),
    [
        (dict(num_fixed_crops=5), FIVE),
        (dict(num_fixed_crops=13), THIRTEEN),
        (dict(random_crop=True), None),
    ],
)
def test_multi_scale_crop(make_clip, check_form, options, places):
    scales = (1, 0.9, 0.75, 0.6)  # sides 30, 27, 22, 18: only 22 is near enough to 24
    transform = MultiScaleCrop((24, 24), scales, max_wh_scale_gap=1, **options)
    boxes = set()
    for seed in range(30):
        results = make_clip()
        before = np.array(results['imgs'])
        random.seed(seed)
        box = multi_scale_box(30, 40, (24, 24), scales, 1, places)
        random.seed(seed)
        results = transform(results)
        check_form(results['imgs'])
        assert_crop(before, results, *box)
        assert results['scales'] == scales
        boxes.add(box)
    assert len(boxes) > 5
    assert {side for box in boxes for side in box[2:]} == {30, 27, 24, 18}


def test_multi_scale_crop_stays_inside_the_frame(make_clip):
    results = MultiScaleCrop(31)(make_clip(height=30, width=30))
    assert results['crop_bbox'].tolist() == [0, 0, 30, 30]
    for height, width in ((30, 40), (40, 30)):
        results = MultiScaleCrop(31)(make_clip(height=height, width=width))
        x, y, x_end, y_end = results['crop_bbox']
        assert (x_end <= width, y_end <= height) == (True, True)
        assert results['img_shape'] == (y_end - y, x_end - x) == results['imgs'][0].shape[:2]


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'offsets'),
    [
        (20, 31, (20, 20), [(0, 0), (10, 0), (5, 0)]),
        (31, 20, (20, 20), [(0, 0), (0, 10), (0, 5)]),
        (20, 31, (16, 20), [(0, 0), (14, 0), (7, 0)]),
        (20, 20, 20, [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_three_crop(make_clip, check_form, height, width, size, offsets):
    results = make_clip(3, height, width)
    before = np.array(results['imgs'])
    results = ThreeCrop(size)(results)
    check_form(results['imgs'])
    w, h = (size, size) if isinstance(size, int) else size
    want = np.concatenate([cut(before, x, y, w, h) for x, y in offsets])
    assert np.array_equal(np.array(results['imgs']), want)
    assert results['img_shape'] == (h, w)
    assert results['crop_bbox'].tolist() == [
        [x, y, x + w, y + h] for x, y in offsets for _ in range(3)
    ]


def test_ten_crop(make_clip, check_form):
    results = make_clip(3, 30, 41)
    before = np.array(results['imgs'])
    results = TenCrop((20, 16))(results)
    check_form(results['imgs'])
    offsets = [(0, 0), (20, 0), (0, 12), (20, 12), (10, 6)]
    want = []
    for x, y in offsets:
        crop = cut(before, x, y, 20, 16)
        want += [crop, np.array([[row[::-1] for row in img] for img in crop])]
    assert np.array_equal(np.array(results['imgs']), np.concatenate(want))
    assert results['img_shape'] == (16, 20)
    assert results['crop_bbox'].tolist() == [
        [x, y, x + 20, y + 16] for x, y in offsets for _ in range(6)
    ]


@pytest.mark.parametrize('crop', [CenterCrop(50), RandomCrop(50), TenCrop(50), ThreeCrop(50)])
def test_a_crop_larger_than_the_frame_names_the_clip(make_clip, crop):
    with pytest.raises(ValueError, match=rf'{type(crop).__name__} of 50x50 .* 40x30 .* a\.mp4'):
        crop(make_clip(filename='a.mp4'))


def test_three_crop_needs_one_equal_side(make_clip):
    with pytest.raises(ValueError, match=r'ThreeCrop of 20x20 .* 40x30 .*Resize.*\(-1, 20\)'):
        ThreeCrop(20)(make_clip())


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (lambda: RandomCrop((224, 224)), TypeError, 'size must be an int'),
        (lambda: RandomCrop(0), ValueError, 'size=0 must be positive'),
        (lambda: CenterCrop('224'), TypeError, "crop_size must be an int or .*'224'"),
        (lambda: CenterCrop(1.5), TypeError, 'crop_size must be an int'),
        (lambda: ThreeCrop(0), ValueError, 'crop_size=0 must be positive'),
        (lambda: TenCrop((1, 2, 3)), TypeError, 'crop_size must be an int'),
        (lambda: RandomResizedCrop(0.5), TypeError, 'area_range=0.5 must be two numbers'),
        (lambda: RandomResizedCrop((0.8, 0.5)), ValueError, 'area_range='),
        (lambda: RandomResizedCrop((0.8, 1.5)), ValueError, 'must not exceed 1'),
        (lambda: RandomResizedCrop((0.8, 1), (0, 1)), ValueError, 'aspect_ratio_range='),
        (lambda: MultiScaleCrop(224, 0.5), TypeError, 'scales must be a tuple'),
        (lambda: MultiScaleCrop(224, (1.5,)), ValueError, 'scales='),
        (lambda: MultiScaleCrop(224, num_fixed_crops=7), ValueError, 'must be 5 or 13'),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_repr():
    assert repr(RandomCrop(224)) == 'RandomCrop(size=224, lazy=False)'
    assert repr(RandomResizedCrop((0.5, 1.0), (0.8, 1.2))) == (
        'RandomResizedCrop(area_range=(0.5, 1.0), aspect_ratio_range=(0.8, 1.2), lazy=False)'
    )
    assert repr(MultiScaleCrop(224, (1, 0.8), 0)) == (
        'MultiScaleCrop(input_size=(224, 224), scales=(1, 0.8), max_wh_scale_gap=0, '
        'random_crop=False, num_fixed_crops=5, lazy=False)'
    )
    assert repr(CenterCrop(224)) == 'CenterCrop(crop_size=(224, 224), lazy=False)'
    assert repr(ThreeCrop(224)) == 'ThreeCrop(crop_size=(224, 224))'
    assert repr(TenCrop(224)) == 'TenCrop(crop_size=(224, 224))'
