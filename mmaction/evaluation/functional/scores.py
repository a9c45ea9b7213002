"""Checking scores, and bringing them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ['get_weighted_score', 'softmax']

ArrayLike = npt.ArrayLike | Sequence[Any]


def as_scores(scores: ArrayLike) -> np.ndarray:
    """Scores as a float array of shape (N, K).

    Raises:
        ValueError: They are ragged, empty, or not one row of scores per sample.
    """
    try:
        rows = np.asarray(scores, dtype=float)
    except ValueError:
        assert isinstance(scores, Iterable)
        lengths = sorted({np.size(row) for row in scores})
        raise ValueError(
            f'all samples must have as many scores as there are classes, found {lengths} scores'
        ) from None
    if rows.ndim != 2 or not rows.size:
        raise ValueError(
            f'scores must have shape (samples, classes) with at least one of each, not {rows.shape}'
        )
    return rows


def get_weighted_score(
    score_list: Sequence[ArrayLike], coeff_list: Sequence[float]
) -> list[np.ndarray]:
    """The weighted sum of the scores that several models give the same samples.

    Args:
        score_list: For each model its scores, shape (N, K).
        coeff_list: The weight of each model.

    Returns:
        N arrays of shape (K,).

    Raises:
        ValueError: The models' scores differ in shape, or the numbers of models
            and of weights differ.
    """
    if len(score_list) != len(coeff_list) or not len(score_list):
        raise ValueError(f'{len(score_list)} sets of scores but {len(coeff_list)} weights')
    arrays = [np.asarray(scores) for scores in score_list]
    shapes = [scores.shape for scores in arrays]
    if len(set(shapes)) > 1:
        raise ValueError(f'all sets of scores must have the same shape, found {shapes}')
    return list(np.tensordot(np.asarray(coeff_list), np.stack(arrays), axes=1))


def softmax(x: ArrayLike, dim: int = 1) -> np.ndarray:
    """Exponentials of `x` that sum to one along an axis."""
    values = np.asarray(x)
    powers = np.exp(values - values.max(axis=dim, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=dim, keepdims=True)
    return shares
