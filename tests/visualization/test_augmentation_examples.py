"""tools/figures/augmentation_examples.py: every transform has its picture."""

from pathlib import Path

import numpy as np
import pytest

from mmaction.datasets import transforms
from mmaction.models import utils as blendings
from tools.figures.augmentation_examples import EXAMPLES, SAMPLING, read_frames, row_of

CLIPS = Path(__file__).parents[1] / 'data' / 'real_clips'
# What reads, packs or loads labels changes no picture; nor do the base class and what is deferred.
WITHOUT_PICTURE = {
    *('BaseTransform', 'BuildPseudoClip', 'Fuse', 'InferencerPackInput', 'LoadHVULabel'),
    *('LoadRGBFromFile', 'FormatShape', 'PackActionInputs', 'Transpose'),
}
READERS = ('Init', 'Decode')


def test_every_transform_has_an_example():
    drawn = {step['type'] for steps in EXAMPLES for step in steps}
    drawn |= {step['type'] for _, step in SAMPLING}
    there = {name for name in transforms.__all__ if not name.endswith(READERS)} - WITHOUT_PICTURE
    there |= {name for name in blendings.__all__ if name.endswith('Blending')}
    assert there - drawn - {'BaseMiniBatchBlending'} == set()


@pytest.fixture(scope='module')
def frames():
    return [
        read_frames(str(CLIPS / name)) for name in ('arm wrestling/00.mp4', 'cleaning pool/05.mp4')
    ]


@pytest.mark.parametrize('steps', EXAMPLES, ids=lambda steps: steps[0].get('op', steps[0]['type']))
def test_example_differs_from_the_clip(frames, steps):
    row = row_of(*frames, steps)
    assert 2 < len(row) <= 4
    assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in row)
    first = frames[0][0]
    assert any(picture.shape != first.shape or (picture != first).any() for picture in row[::2])
