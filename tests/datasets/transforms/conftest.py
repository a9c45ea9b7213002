"""Clips of random pixels, in both forms that transforms take."""

import numpy as np
import pytest


@pytest.fixture(params=['array', 'list'])
def form(request):
    """The form of `results['imgs']`."""
    return request.param


@pytest.fixture
def make_clip(form):
    """`make_clip(t, h, w, c=3, **keys)` -> the results dict of a clip of random bytes."""

    def make(frames=4, height=30, width=40, channels=3, **keys):
        shape = (frames, height, width) if channels is None else (frames, height, width, channels)
        imgs = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        return dict(imgs=imgs if form == 'array' else list(imgs), modality='RGB', **keys)

    return make


@pytest.fixture
def check_form(form):
    """`check_form(imgs)` asserts that the frames are still in the form of the clip."""

    def check(imgs):
        assert isinstance(imgs, np.ndarray if form == 'array' else list)
        assert imgs[0].dtype == np.uint8

    return check
