"""Randomness that belongs to a sample, not to a worker or a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ['sample_generator', 'sample_randomness']

_MASK = (1 << 64) - 1


def _sequence(entropy: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([int(part) & _MASK for part in entropy])


def sample_generator(*entropy: int) -> np.random.Generator:
    """A generator of its own for the given integers, for draws outside the pipeline."""
    return np.random.default_rng(_sequence(entropy))


@contextmanager
def sample_randomness(*entropy: int) -> Iterator[None]:
    """Seed `random`, `numpy.random` and torch's CPU generator; restore them on leaving.

    Equal integers give equal draws in any process, at any time and in any
    order, so what a transform draws depends on the sample alone.

    Args:
        entropy: What identifies the draw, for example seed, epoch, index, repeat.
    """
    words = [int(word) for word in _sequence(entropy).generate_state(6, np.uint32)]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(words[0] << 32 | words[1])
    np.random.seed(words[2:4])
    torch.default_generator.manual_seed(words[4] << 32 | words[5])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
