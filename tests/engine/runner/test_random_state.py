"""The random state of a process: seeded, saved, and continued."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from mmaction.engine.runner.random_state import (
    continue_random_state,
    random_state,
    restore_random_state,
    seed_process,
)


def draws():
    """A number of each generator; of NumPy's two, as every second normal number is kept in it."""
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1)


def test_restored_state_draws_what_would_have_come():
    np.random.randn(), random.gauss(0, 1)  # leave the second of two normal numbers waiting
    state = random_state()
    expected = draws()
    draws()
    restore_random_state(state)
    assert draws() == expected


def test_ranks_draw_different_numbers():
    seed_process(5, 0)
    first = draws()
    seed_process(5, 1)
    second = draws()
    assert all(a != b for a, b in zip(first, second, strict=True))
    seed_process(5, 0)
    assert draws() == first


def runner(**facts):
    return SimpleNamespace(**{'seed': 5, 'iter': 0, 'rank': 0, **facts})


def test_run_starts_from_its_seed():
    continue_random_state(runner())
    first = draws()
    seed_process(5, 0)
    assert draws() == first
    continue_random_state(runner(rank=1))
    assert all(a != b for a, b in zip(first, draws(), strict=True))


def test_resumed_by_other_ranks_does_not_repeat_the_draws_of_step_0():
    """Without a state of this rank, the steps done take part in the seed."""
    found = []
    for step in (0, 3):
        continue_random_state(runner(iter=step))
        found.append(draws())
    assert all(a != b for a, b in zip(*found, strict=True))


def test_saved_state_is_used_once():
    seed_process(9, 0)
    state = random_state()
    expected = draws()
    holder = runner(iter=3, resumed_random_state=state)
    continue_random_state(holder)
    assert draws() == expected
    assert holder.resumed_random_state is None
