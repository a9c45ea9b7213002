import colorsys
import math

import numpy as np
import pytest

from mmaction.datasets.transforms import ColorJitter, RandomErasing
from mmaction.datasets.transforms.color import turn_hue


def gray(img):
    return 0.2989 * img[..., 0] + 0.587 * img[..., 1] + 0.114 * img[..., 2]


def jittered(img, order, brightness, contrast, saturation, hue):
    """One step after the other, in floats, the frame as a whole each time."""
    img = img.astype(np.float64)
    for step in order:
        if step == 0:
            img = img * brightness
        elif step == 1:
            img = contrast * img + (1 - contrast) * gray(img).mean()
        elif step == 2:
            img = saturation * img + (1 - saturation) * gray(img)[..., None]
        elif hue != 0:
            img = turn_hue(np.clip(img, 0, 255).astype(np.uint8), hue).astype(np.float64)
    return np.clip(img, 0, 255).astype(np.uint8)


def test_color_jitter(make_clip, check_form):
    transform = ColorJitter(0.4, (0.7, 1.6), 0.5, 0.1)
    orders = set()
    for seed in range(40):
        results = make_clip(3, 12, 14)
        before = np.array(results['imgs'])
        np.random.seed(seed)
        amounts = [np.random.uniform(0.6, 1.4), np.random.uniform(0.7, 1.6)]
        amounts += [np.random.uniform(0.5, 1.5), np.random.uniform(-0.1, 0.1)]
        order = np.random.permutation(4).tolist()
        np.random.seed(seed)
        results = transform(results)
        check_form(results['imgs'])
        want = np.array([jittered(img, order, *amounts) for img in before]).astype(int)
        # Truncation turns a difference in the last digit into one level; a turn of the hue
        # may enlarge it. Both are rare.
        off = np.abs(np.array(results['imgs']) - want)
        assert np.mean(off > 0) < 0.002
        assert not np.array_equal(want, before)
        orders.add(tuple(order))
    assert len(orders) > 10


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(brightness=(0.5, 0.5)), lambda img: img * 0.5),
        (dict(brightness=(1.5, 1.5)), lambda img: img * 1.5),
        (dict(contrast=(0.0, 0.0)), lambda img: np.full_like(img, gray(img).mean())),
        (dict(saturation=(0.0, 0.0)), lambda img: np.repeat(gray(img)[..., None], 3, -1)),
    ],
)
def test_single_color_operation(make_clip, options, expected):
    results = make_clip(1)
    frame = results['imgs'][0].astype(np.float64)
    off = dict(brightness=0, contrast=0, saturation=0, hue=0)
    got = ColorJitter(**dict(off, **options))(results)['imgs'][0]
    assert np.abs(got - np.clip(expected(frame), 0, 255).astype(int)).max() <= 1


def test_zero_strength_is_identity(make_clip):
    results = make_clip()
    before = np.array(results['imgs'])
    results = ColorJitter(0, 0, 0, 0)(results)
    assert np.array_equal(np.array(results['imgs']), before)


@pytest.mark.parametrize('amount', [0.1, -0.1, 0.5, -0.5])
def test_hue_shift_is_in_half_degrees(amount):
    img = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    turned = turn_hue(img, amount)
    for before, after in zip(img.reshape(-1, 3), turned.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        hue = (hue + 2 * int(255 * amount) / 360) % 1
        want = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
        # One level of hue, 2 degrees, moves a channel by up to 255 / 30 levels.
        assert np.abs(after - want).max() <= 10


def test_color_jitter_does_not_modify_its_input(make_clip):
    results = make_clip()
    imgs = results['imgs']
    before = np.array(imgs)
    ColorJitter()(results)
    assert np.array_equal(np.array(imgs), before)


def erase_box(height, width, low_area, high_area, low, high):
    aspect = math.exp(np.random.uniform(math.log(low), math.log(high)))
    area = height * width * np.random.uniform(low_area, high_area)
    h = min(round(math.sqrt(area * aspect)), height)
    w = min(round(math.sqrt(area / aspect)), width)
    top = np.random.randint(0, height - h) if height > h else 0
    left = np.random.randint(0, width - w) if width > w else 0
    return top, left, h, w


@pytest.mark.parametrize(
    ('options', 'fill'),
    [
        (dict(fill_color=(1, 2, 3)), lambda shape: np.array([1, 2, 3])),
        (dict(fill_color=9), lambda shape: np.array([9, 9, 9])),
        (dict(mode='rand'), lambda shape: np.random.uniform(0, 256, shape)),
        (
            dict(mode='rand', fill_color=(100, 120, 140), fill_std=60),
            lambda shape: np.clip(np.random.normal((100, 120, 140), 60, shape), 0, 255),
        ),
    ],
)
def test_random_erasing(make_clip, check_form, options, fill):
    for seed in range(8):
        results = make_clip()
        given = results['imgs']
        before = np.array(given)
        np.random.seed(seed)
        np.random.rand()
        top, left, h, w = erase_box(30, 40, 0.1, 0.3, 0.5, 2.0)
        want = before.copy()
        for img in want:
            img[top : top + h, left : left + w] = fill((h, w, 3)).astype(np.uint8)
        np.random.seed(seed)
        transform = RandomErasing(
            1.0, min_area_ratio=0.1, max_area_ratio=0.3, aspect_range=0.5, **options
        )
        results = transform(results)
        check_form(results['imgs'])
        assert np.array_equal(np.array(results['imgs']), want)
        assert np.array_equal(np.array(given), before)
        assert not np.array_equal(want, before)


def test_random_erasing_probability(make_clip):
    np.random.seed(4)
    erased = 0
    for _ in range(200):
        results = make_clip(1)
        before = results['imgs']
        erased += RandomErasing(0.25)(results)['imgs'] is not before
    assert 30 < erased < 70


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: ColorJitter(brightness=1.5), 'brightness=1.5'),
        (lambda: ColorJitter(contrast=(1.2, 0.8)), 'contrast='),
        (lambda: ColorJitter(hue=0.6), 'hue=0.6'),
        (lambda: RandomErasing(1.5), 'erase_prob=1.5'),
        (lambda: RandomErasing(min_area_ratio=0.5), 'max_area_ratio='),
        (lambda: RandomErasing(aspect_range=(3, 1)), 'aspect_range='),
        (lambda: RandomErasing(mode='noise'), "mode='noise'"),
        (lambda: RandomErasing(fill_color=(1, 2)), 'fill_color='),
        (lambda: RandomErasing(fill_std=300), 'fill_std=300'),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize('ratio', [2, 0.5])
def test_one_aspect_ratio_stands_for_itself_and_its_inverse(ratio):
    assert RandomErasing(aspect_range=ratio).aspect_range == (0.5, 2)


def test_repr():
    assert repr(ColorJitter(hue=0)) == (
        'ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(0, 0))'
    )
    assert repr(RandomErasing(aspect_range=0.5)) == (
        f'RandomErasing(erase_prob=0.5, min_area_ratio=0.02, max_area_ratio={1 / 3}, '
        'aspect_range=(0.5, 2.0), mode=const, fill_color=(128, 128, 128), fill_std=None)'
    )
