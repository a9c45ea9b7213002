"""Mean average precision of multi-label scores.

A row of scores that holds NaN stands for a clip without a prediction: its
labels are never found.
"""

from __future__ import annotations

import warnings

import numpy as np

from .scores import ArrayLike, as_scores

__all__ = ['mean_average_precision', 'mmit_mean_average_precision']


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    rows = as_scores(scores)
    try:
        found = np.asarray(labels, dtype=float)
    except ValueError:
        raise ValueError('labels must be vectors of one length, a 0 or 1 per class') from None
    if found.shape != rows.shape:
        raise ValueError(
            f'scores of shape {rows.shape} need labels of the same shape, a 0 or 1 per class; '
            f'found {found.shape}'
        )
    if not np.isin(found, (0, 1)).all():
        sample = int(np.argmax(~np.isin(found, (0, 1)).all(1)))
        raise ValueError(f'the label vector of sample {sample} holds other values than 0 and 1')
    return rows, found.astype(bool)


def _average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the precision-recall steps, NaN if nothing is positive.

    The sum over the distinct scores, from the highest, of precision times the
    gain in recall; samples of equal score are taken in together. Positives
    whose score is NaN are never found.
    """
    total = positive.sum()
    if not total:
        return float('nan')
    known = ~np.isnan(scores)
    scores, positive = scores[known], positive[known]
    order = np.argsort(-scores, kind='stable')
    scores, positive = scores[order], positive[order]
    # The last sample of each run of equal scores.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], len(scores) > 0))
    found = np.cumsum(positive)[last]
    precision = found / (last + 1)
    return float((precision * np.diff(found, prepend=0)).sum() / total)


def mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of each class over the samples, averaged over the classes.

    Classes without a positive sample are left out; NaN if no class has one.

    Args:
        scores: Shape (N, K).
        labels: Zeros and ones of shape (N, K).

    Raises:
        ValueError: Shapes or values do not fit.
    """
    rows, found = _checked(scores, labels)
    rows = np.where(np.isnan(rows).any(1, keepdims=True), np.nan, rows)
    each = np.array([_average_precision(*pair) for pair in zip(rows.T, found.T, strict=True)])
    each = each[~np.isnan(each)]
    return float(each.mean()) if len(each) else float('nan')


def mmit_mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of each sample over the classes, averaged over the samples.

    The measure of Multi-Moments in Time (Monfort et al., arXiv:1911.00232).

    Args:
        scores: Shape (N, K).
        labels: Zeros and ones of shape (N, K). A row without a 1 has no precision: the result
            is NaN, and a warning names the row.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    rows, found = _checked(scores, labels)
    if not found.any(1).all():
        without = np.flatnonzero(~found.any(1)).tolist()
        warnings.warn(
            f'mmit_mean_average_precision is NaN: {len(without)} of {len(found)} samples have no '
            f'label, the first of them sample {without[0]}; leave them out',
            stacklevel=2,
        )
    rows = np.where(np.isnan(rows).any(1, keepdims=True), np.nan, rows)
    return float(np.mean([_average_precision(*pair) for pair in zip(rows, found, strict=True)]))
