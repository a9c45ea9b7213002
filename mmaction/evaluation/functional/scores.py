"""Bringing scores together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .accuracy import ArrayLike

__all__ = ['get_weighted_score', 'softmax']


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
