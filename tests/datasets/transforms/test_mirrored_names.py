"""Which labels a flip changes, told from class names."""

import numpy as np
import pytest

from mmaction.data_preparation.motion_digits import CLASSES
from mmaction.datasets.transforms import Flip
from mmaction.datasets.transforms.mirrored_names import mirrored_labels

NAMES = {
    ('turn left', 'turn right'): ({0: 1, 1: 0}, set()),
    ('TurnLeft', 'turn_right', 'wave'): ({0: 1, 1: 0}, set()),
    ('left-handed serve', 'right handed serve'): ({0: 1, 1: 0}, set()),
    ('moving leftwards', 'moving rightwards'): ({0: 1, 1: 0}, set()),
    ('swipe left', 'wave'): ({}, {0}),
    ('counter-clockwise', 'clockwise'): ({0: 1, 1: 0}, set()),
    ('anticlockwise', 'clockwise'): ({0: 1, 1: 0}, set()),
    ('from left to right', 'from right to left'): ({0: 1, 1: 0}, set()),
    ('cleft lip', 'brightness', 'outright'): ({}, set()),
    ('0', '1', '17'): ({}, {0, 1, 2}),
    ('jump up', 'fall down'): ({}, set()),
}


@pytest.mark.parametrize('names', NAMES)
def test_horizontal(names):
    swaps, fixed = mirrored_labels(names, 'horizontal')
    assert (swaps, set(fixed)) == NAMES[names]


def test_vertical():
    assert mirrored_labels(('look up', 'look down', 'jump up'), 'vertical') == (
        {0: 1, 1: 0}, {2},
    )  # fmt: skip


def test_motion_digits_are_mirrored_as_their_config_says():
    assert mirrored_labels(CLASSES, 'horizontal') == ({0: 1, 1: 0, 4: 5, 5: 4}, frozenset())
    assert mirrored_labels(CLASSES, 'vertical') == ({2: 3, 3: 2, 4: 5, 5: 4}, frozenset())


@pytest.mark.parametrize(('label', 'after', 'flipped'), [(0, 1, True), (2, 2, False), (3, 3, True)])
def test_flip_by_names(label, after, flipped):
    flip = Flip(1.0, flip_label_map='names')
    flip.bind_classes(['go left', 'go right', 'right turn', 'stop'])
    frames = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3)]
    results = flip(dict(imgs=frames, label=label, img_shape=(2, 2)))
    assert (results['label'], results['flip']) == (after, flipped)
    expected = frames[0][:, ::-1] if flipped else frames[0]
    assert (results['imgs'][0] == expected).all()


def test_names_need_a_dataset():
    with pytest.raises(ValueError, match='only a dataset can resolve'):
        Flip(1.0, flip_label_map='names')(dict(imgs=[np.zeros((2, 2, 3), np.uint8)], label=0))
