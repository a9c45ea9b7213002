"""Accuracies and mean average precision of the predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from mmaction.evaluation.functional import (
    get_weighted_score,
    mean_average_precision,
    mean_class_accuracy,
    mmit_mean_average_precision,
    top_k_accuracy,
)
from mmaction.registry import METRICS
from mmaction.utils.suggest import did_you_mean

from .clip_metric import ClipMetric, Result, one_view, to_array
from .confusion_matrix import ConfusionMatrix  # mmaction2 has it here

__all__ = ['AccMetric', 'ConfusionMatrix']

# As a type, by which the check of a config knows the names.
MetricName = Literal[
    'top_k_accuracy',
    'mean_class_accuracy',
    'mean_average_precision',
    'mmit_mean_average_precision',
]
NAMES = get_args(MetricName)


@METRICS.register_module()
class AccMetric(ClipMetric):
    """Accuracies of clips with one label, mean average precision of those with several.

    With the default prefix the keys are `acc/top1`, `acc/top5`, `acc/mean1`,
    `acc/mean_average_precision` and `acc/mmit_mean_average_precision`, all from
    0 to 1. A clip that could not be read counts as wrong in each.

    If a model gives scores of several modalities as a dict, each has its own
    metrics (`acc/rgb_top1`); for `rgb` and `pose` there are also those of the
    sums weighted 1:1, 2:1 and 1:2 (`acc/RGBPose_2:1_top1`).

    Args:
        metric_list: One name or several of 'top_k_accuracy',
            'mean_class_accuracy', 'mean_average_precision' and
            'mmit_mean_average_precision'.
        collect_device: 'cpu' or 'gpu', as in mmengine; the results are the same.
        metric_options: `topk` of 'top_k_accuracy': one k or several.
        prefix: What stands before the names of the metrics; by default 'acc'.

    Raises:
        TypeError: `metric_list` or `topk` has another type.
        ValueError: A metric or an option is unknown.

    Source: the metric of this name in mmaction2 1.x.
    """

    default_prefix = 'acc'

    def __init__(
        self,
        metric_list: MetricName | Sequence[MetricName] = ('top_k_accuracy', 'mean_class_accuracy'),
        collect_device: str = 'cpu',
        metric_options: Mapping[str, Any] | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not isinstance(metric_list, (str, tuple, list)):
            raise TypeError(
                f'metric_list must be a name or a sequence of names, '
                f'not {type(metric_list).__name__}'
            )
        self.metrics = (metric_list,) if isinstance(metric_list, str) else tuple(metric_list)
        if not self.metrics:
            raise ValueError(f'metric_list is empty; the metrics are {", ".join(NAMES)}')
        for name in self.metrics:
            _check_name('metric', name, NAMES)
        self.metric_options = {name: dict(given) for name, given in (metric_options or {}).items()}
        for name, options in self.metric_options.items():
            _check_name('metric in metric_options', name, NAMES)
            for option in options:
                allowed = ('topk',) if name == 'top_k_accuracy' else ()
                _check_name(f'option of {name}', option, allowed)
        self.topk = _topk(self.metric_options.get('top_k_accuracy', {}).get('topk', (1, 5)))

    def prediction(self, sample: Mapping[str, Any], name: str) -> Any:
        """The scores (K,) of a clip, or a dict of them."""
        scores = sample.get('pred_score')
        if scores is None:
            raise ValueError(f'{name} has no pred_score: did the model predict?')
        if isinstance(scores, Mapping):
            return {item: one_view(to_array(value), name) for item, value in scores.items()}
        return one_view(to_array(scores), name)

    def compute_metrics(self, results: list[Result]) -> dict[str, float]:
        """The metrics of all clips.

        Args:
            results: A dict with `pred` and `label` for each clip.
        """
        labels = [result['label'] for result in results]
        names = [result.get('filename', f'sample {i}') for i, result in enumerate(results)]
        readable = [result['pred'] for result in results if result['pred'] is not None]
        if not readable or not isinstance(readable[0], dict):
            return self._checked([result['pred'] for result in results], labels, names)
        metrics = {}
        items = {
            item: [None if r['pred'] is None else r['pred'][item] for r in results]
            for item in readable[0]
        }
        for item, preds in items.items():
            found = self._checked(preds, labels, names)
            metrics.update({f'{item}_{key}': value for key, value in found.items()})
        if set(items) == {'rgb', 'pose'}:
            pair = [_filled(items[item], labels) for item in ('rgb', 'pose')]
            for weights in ((1, 1), (2, 1), (1, 2)):
                found = self.calculate(get_weighted_score(pair, weights), labels)
                title = 'RGBPose_{}:{}'.format(*weights)
                metrics.update({f'{title}_{key}': value for key, value in found.items()})
        return metrics

    def _checked(
        self, preds: list[np.ndarray | None], labels: list[Any], names: list[str]
    ) -> dict[str, float]:
        """The metrics, once every label is known to fit the scores."""
        filled = _filled(preds, labels)
        for row, label, name in zip(filled, labels, names, strict=True):
            _check_label(label, len(row), name)
            if len(row) != len(filled[0]):
                raise ValueError(
                    f'{name} has {len(row)} scores, but {names[0]} has {len(filled[0])}'
                )
        return self.calculate(filled, labels)

    def calculate(self, preds: Sequence[Any], labels: Sequence[Any]) -> dict[str, float]:
        """The metrics of scores and labels.

        Args:
            preds: Scores (K,) of each clip; NaN for one without a prediction.
            labels: A class, or a vector (K,) of zeros and ones, of each clip.

        Raises:
            ValueError: A metric for one label meets several.
        """
        several = any(np.size(label) > 1 for label in labels)
        metrics = {}
        for metric in self.metrics:
            if metric in ('top_k_accuracy', 'mean_class_accuracy'):
                if several:
                    raise ValueError(
                        f'{metric} needs one label for each clip, but these have several: '
                        'use mean_average_precision or mmit_mean_average_precision'
                    )
                if metric == 'mean_class_accuracy':
                    metrics['mean1'] = mean_class_accuracy(preds, labels)
                else:
                    accuracies = top_k_accuracy(preds, labels, self.topk)
                    for k, accuracy in zip(self.topk, accuracies, strict=True):
                        metrics[f'top{k}'] = accuracy
                continue
            vectors = [_vector(label, len(preds[0])) for label in labels]
            mean = (
                mean_average_precision
                if metric == 'mean_average_precision'
                else mmit_mean_average_precision
            )
            metrics[metric] = mean(preds, vectors)
        return metrics


def _check_name(what: str, name: str, allowed: Iterable[str]) -> None:
    allowed = tuple(allowed)
    if name in allowed:
        return
    hint = did_you_mean(str(name), allowed, cutoff=0.5)
    raise ValueError(f'unknown {what}: {name!r}{hint} (there are: {", ".join(allowed) or "none"})')


def _topk(value: object) -> tuple[int, ...]:
    ks = (value,) if isinstance(value, int) else value
    if not isinstance(ks, (tuple, list)) or any(type(k) is not int for k in ks):
        raise TypeError(f'topk must be an integer or a sequence of integers, not {value!r}')
    if not ks or min(ks) < 1:
        raise ValueError(f'topk needs integers of at least 1, found {value!r}')
    return tuple(ks)


def _filled(preds: Sequence[np.ndarray | None], labels: Sequence[Any]) -> list[np.ndarray]:
    """NaN scores for clips without a prediction, as many as the others have."""
    sizes = {len(scores) for scores in preds if scores is not None}
    if not sizes:
        sizes = {int(np.max(label)) + 1 if np.size(label) == 1 else len(label) for label in labels}
    empty = np.full(max(sizes), np.nan)
    return [empty if scores is None else scores for scores in preds]


def _check_label(label: Any, num_classes: int, name: str) -> None:
    """Raise `ValueError` unless the label fits the scores."""
    if np.size(label) == 1:
        if not 0 <= label < num_classes:
            raise ValueError(
                f'{name} has label {label}, but the model scores {num_classes} classes '
                f'(labels 0 to {num_classes - 1}): check the list, and num_classes of the head'
            )
    elif len(label) != num_classes:
        raise ValueError(
            f'{name} has a label vector of {len(label)} values, but the model scores '
            f'{num_classes} classes: check num_classes of the dataset and of the head'
        )


def _vector(label: Any, num_classes: int) -> np.ndarray:
    """The label as zeros and ones."""
    if np.size(label) > 1:
        return np.asarray(label)
    vector = np.zeros(num_classes)
    vector[label] = 1
    return vector
