"""The random state of a process, as plain values that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.runner import Runner

__all__ = ['continue_random_state', 'random_state', 'restore_random_state', 'seed_process']


def random_state() -> dict[str, Any]:
    """The states of `random`, NumPy, torch's CPU generator and the current GPU's."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    state: dict[str, Any] = {
        'python': random.getstate(),
        'numpy': (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on drawing where `random_state` was taken."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def seed_process(seed: int, rank: int) -> None:
    """Seed dropout, drop-path and mixup of one process; the first gets the seed itself."""
    seed = (seed + rank) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def continue_random_state(runner: Runner) -> None:
    """Set the random state for the next step: of the seed, or of the run that is resumed."""
    holder: Any = runner
    saved = getattr(runner, 'resumed_random_state', None)
    if saved is not None:
        restore_random_state(saved)
        holder.resumed_random_state = None
    else:
        # Past the first step (resumed by other processes), the steps done
        # keep the draws from being those of the beginning.
        seed_process(holder.seed + holder.iter, holder.rank)
