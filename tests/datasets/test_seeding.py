"""Draws that depend on given integers alone."""

import random

import numpy as np
import torch

from mmaction.datasets.seeding import sample_generator, sample_randomness


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_equal_integers_give_equal_draws():
    with sample_randomness(1, 2, 3):
        first = draw()
    draw()
    with sample_randomness(1, 2, 3):
        assert draw() == first
    for other in ((1, 2, 4), (3, 2, 1), (1, 2), (1, 2, -3)):
        with sample_randomness(*other):
            assert not set(draw()) & set(first)


def test_global_random_state_is_restored():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with sample_randomness(5):
        draw()
    assert draw() == expected


def test_seeded_generators_are_independent():
    np.random.seed(0)
    before = np.random.get_state()[2]
    assert sample_generator(4, 5).integers(1000) == sample_generator(4, 5).integers(1000)
    assert sample_generator(4, 5).random() != sample_generator(5, 4).random()
    assert np.random.get_state()[2] == before
