"""Crops of frames, at once and lazily."""

import numpy as np
import pytest

from mmaction.datasets.transforms import CenterCrop, Fuse, Resize
from mmaction.datasets.transforms.functional import apply_crop, begin


def frames(height=20, width=40):
    image = np.add.outer(np.arange(height) * 5, np.arange(width) * 3).astype(np.uint8)
    imgs = [np.stack([image] * 3, axis=-1)] * 2
    return dict(imgs=imgs, img_shape=(height, width), original_shape=(height, width))


def test_lazy_crop_after_resize_scales_each_axis_by_itself():
    results = Resize((80, 80), keep_ratio=False, lazy=True)(frames())
    results = apply_crop(results, (10, 20, 50, 60), lazy=True)
    # The width was doubled, the height made four times as large.
    assert results['lazy']['crop_bbox'].tolist() == [5, 5, 25, 15]
    assert results['img_shape'] == (40, 40)


def test_second_lazy_crop_lies_within_the_first():
    results = frames()
    begin(results, lazy=True)
    apply_crop(results, (10, 5, 30, 15), lazy=True)
    apply_crop(results, (2, 1, 12, 9), lazy=True)
    assert results['lazy']['crop_bbox'].tolist() == [12, 6, 22, 14]
    np.testing.assert_allclose(results['crop_quadruple'], [12 / 40, 6 / 20, 10 / 40, 8 / 20])


@pytest.mark.parametrize('scale', [(80, 20), (40, 60)])
def test_lazy_resize_and_crop_equal_those_at_once(scale):
    """One axis is enlarged, and a crop keeps all of the other: no frame is cut at its border."""
    outcomes = []
    for lazy in (False, True):
        results = Resize(scale, keep_ratio=False, interpolation='nearest', lazy=lazy)(frames())
        results = CenterCrop((scale[0] // 2, scale[1] // 2), lazy=lazy)(results)
        outcomes.append(Fuse()(results) if lazy else results)
    np.testing.assert_array_equal(outcomes[0]['imgs'][0], outcomes[1]['imgs'][0])
