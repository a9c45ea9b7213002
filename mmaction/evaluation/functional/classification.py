"""Accuracies of class scores: top-k, per class, confusion matrix.

A row of scores that holds NaN stands for a clip without a prediction: it
counts as wrong everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .scores import ArrayLike, as_scores

__all__ = ['confusion_matrix', 'mean_class_accuracy', 'top_k_accuracy', 'top_k_classes']


def as_labels(labels: ArrayLike, num_samples: int) -> np.ndarray:
    """Labels as an integer array of shape (N,).

    Raises:
        TypeError: They are not integers.
        ValueError: Their number is not that of the samples, or one is negative.
    """
    found = np.asarray(labels)
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f'labels must be integers, not {found.dtype}')
    if found.shape != (num_samples,):
        raise ValueError(
            f'{num_samples} samples need labels of shape ({num_samples},), found {found.shape}'
        )
    if (found < 0).any():
        sample = int(np.argmax(found < 0))
        raise ValueError(f'sample {sample} has label {found[sample]}; labels count from 0')
    return found.astype(np.int64)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    rows = as_scores(scores)
    found = as_labels(labels, len(rows))
    if found.max() >= rows.shape[1]:
        sample = int(found.argmax())
        raise ValueError(
            f'sample {sample} has label {found[sample]}, but there are scores for '
            f'{rows.shape[1]} classes (labels 0 to {rows.shape[1] - 1})'
        )
    return rows, found


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, topk: Sequence[int] = (1,)) -> list[float]:
    """Share of samples whose label is among the k highest scores, for each k.

    Of equal scores, that of the higher class counts as higher. A k beyond the
    number of classes takes all classes.

    Args:
        scores: Shape (N, K).
        labels: Shape (N,), from 0 to K - 1.
        topk: The k.

    Raises:
        ValueError: Shapes, labels or a k do not fit.
    """
    rows, found = _checked(scores, labels)
    if any(k < 1 for k in topk):
        raise ValueError(f'every k of topk must be at least 1, found {tuple(topk)}')
    own = np.take_along_axis(rows, found[:, None], axis=1)
    later = np.arange(rows.shape[1]) > found[:, None]
    better = ((rows > own) | ((rows == own) & later)).sum(1)
    predicted = ~np.isnan(rows).any(1)
    return [float(((better < k) & predicted).mean()) for k in topk]


def _per_class(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The classes that are labeled or predicted, and the accuracy of each.

    A class that is predicted but never labeled has accuracy 0.
    """
    rows, found = _checked(scores, labels)
    predicted = ~np.isnan(rows).any(1)
    best = rows[predicted].argmax(1)
    classes = np.union1d(found, best)
    count = np.bincount(found, minlength=classes[-1] + 1)[classes]
    hits = best[best == found[predicted]]
    hit_count = np.bincount(hits, minlength=classes[-1] + 1)[classes]
    return classes, hit_count / np.maximum(count, 1)


def mean_class_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes of the share of each class's samples that are right.

    As in mmaction2, the mean goes over all classes that occur as a label or as
    a prediction; one that is only predicted counts as 0.

    Args:
        scores: Shape (N, K).
        labels: Shape (N,), from 0 to K - 1.

    Raises:
        ValueError: Shapes or labels do not fit.
    """
    return float(_per_class(scores, labels)[1].mean())


def top_k_classes(
    scores: ArrayLike, labels: ArrayLike, k: int = 10, mode: str = 'accurate'
) -> list[tuple[int, float]]:
    """The k classes of the highest or lowest accuracy, with their accuracy.

    Args:
        scores: Shape (N, K).
        labels: Shape (N,), from 0 to K - 1.
        k: How many classes.
        mode: 'accurate' for the best first, 'inaccurate' for the worst first.

    Raises:
        ValueError: Shapes, labels, `k` or `mode` do not fit.
    """
    if mode not in ('accurate', 'inaccurate'):
        raise ValueError(f"mode must be 'accurate' or 'inaccurate', not {mode!r}")
    if k < 1:
        raise ValueError(f'k must be at least 1, not {k}')
    classes, accuracy = _per_class(scores, labels)
    order = accuracy.argsort(kind='stable')
    order = order[::-1][:k] if mode == 'accurate' else order[:k]
    return [(int(classes[i]), float(accuracy[i])) for i in order]


def confusion_matrix(
    y_pred: ArrayLike, y_real: ArrayLike, normalize: str | None = None
) -> np.ndarray:
    """How often each class was taken for each.

    Rows are the true, columns the predicted classes: those that occur in
    either, in ascending order. So the matrix is smaller than (K, K) where a
    class does not occur.

    Args:
        y_pred: Predicted labels, shape (N,).
        y_real: True labels, shape (N,).
        normalize: 'true' divides by the sum of each row, 'pred' of each column,
            'all' of the matrix (an empty row or column stays 0); None counts.

    Returns:
        Integers, or floats if normalized.

    Raises:
        TypeError: Labels are not integers.
        ValueError: Shapes or labels do not fit, or `normalize` is unknown.
    """
    if normalize not in ('true', 'pred', 'all', None):
        raise ValueError(f"normalize must be 'true', 'pred', 'all' or None, not {normalize!r}")
    predicted = as_labels(y_pred, np.size(y_pred))
    real = as_labels(y_real, len(predicted))
    if not len(real):
        raise ValueError('a confusion matrix needs at least one sample')
    classes, index = np.unique(np.concatenate([real, predicted]), return_inverse=True)
    size = len(classes)
    rows, columns = index[: len(real)], index[len(real) :]
    matrix = np.bincount(rows * size + columns, minlength=size**2).reshape(size, size)
    if normalize is None:
        return matrix
    axis = {'true': 1, 'pred': 0, 'all': None}[normalize]
    total = matrix.sum(axis=axis, keepdims=True)
    shares: np.ndarray = matrix / np.maximum(total, 1)
    return shares
