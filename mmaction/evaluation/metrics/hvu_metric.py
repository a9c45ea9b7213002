"""Mean average precision of each category of HVU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmaction.datasets.hvu_dataset import CATEGORIES, CATEGORY_NUMS, labels_of_categories
from mmaction.evaluation.functional import mean_average_precision
from mmaction.registry import METRICS

from .clip_metric import ClipMetric, Result, one_view, to_array

__all__ = ['HVUMetric']


@METRICS.register_module()
class HVUMetric(ClipMetric):
    """Mean average precision of each category, over the clips that are labeled in it.

    The keys are `hvu/mAP`, the mean of the categories, and `hvu/{category}_mAP`
    of each, from 0 to 1. A category that no clip is labeled in is left out. A
    clip that could not be read is never found.

    Args:
        tag_categories: Names of the categories, in the order of the scores.
        tag_category_nums: Number of labels of each.
        collect_device: 'cpu' or 'gpu', as in mmengine; the results are the same.
        prefix: What stands before the names of the metrics; by default 'hvu'.

    Raises:
        ValueError: There are not as many numbers as categories.

    Source: the evaluation of `HVUDataset` in mmaction2 0.x.
    """

    default_prefix = 'hvu'

    def __init__(
        self,
        tag_categories: Sequence[str] = CATEGORIES,
        tag_category_nums: Sequence[int] = CATEGORY_NUMS,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.categories = labels_of_categories(tag_categories, tag_category_nums)

    def prediction(self, sample: Mapping[str, Any], name: str) -> np.ndarray:
        """The scores (K,) of a clip."""
        if sample.get('pred_score') is None:
            raise ValueError(f'{name} has no pred_score: did the model predict?')
        scores = one_view(to_array(sample['pred_score']), name)
        wanted = sum(self.categories.values())
        if len(scores) != wanted:
            raise ValueError(
                f'{name} has {len(scores)} scores, but the categories of HVUMetric have {wanted} '
                'labels: check tag_category_nums, and num_classes of the head'
            )
        return scores

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, object]]) -> None:
        """Keep what is needed of a batch of predictions.

        Args:
            data_batch: Not used.
            data_samples: `ActionDataSample.to_dict()` of each clip.

        Raises:
            ValueError: A sample lacks its label, prediction or `category_mask`.
        """
        before = len(self.results)
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[before:], data_samples, strict=True):
            if sample.get('category_mask') is None:
                raise ValueError(
                    f'{result["filename"]} has no category_mask, which says what is labeled: add '
                    'it to algorithm_keys of PackActionInputs (HVUDataset makes it)'
                )
            result['category_mask'] = to_array(sample['category_mask'])

    def try_clip(self, sample: Mapping[str, Any]) -> None:
        """One clip has labels in some of the categories, or in none."""

    def compute_metrics(self, results: list[Result]) -> dict[str, float]:
        """The metrics of all clips.

        Args:
            results: A dict with `pred`, `label` and `category_mask` for each clip.
        """
        unknown = np.full(sum(self.categories.values()), np.nan)
        scores = np.stack([unknown if r['pred'] is None else r['pred'] for r in results])
        labels = np.stack([r['label'] for r in results])
        masks = np.stack([r['category_mask'] for r in results]) > 0
        metrics, first = {}, 0
        for (name, count), labeled in zip(self.categories.items(), masks.T, strict=True):
            part = slice(first, first + count)
            first += count
            if labels[labeled, part].any():
                metrics[f'{name}_mAP'] = mean_average_precision(
                    scores[labeled, part], labels[labeled, part]
                )
        if not metrics:
            raise ValueError(
                'no clip has a label in any category: HVUMetric has nothing to measure'
            )
        return {'mAP': float(np.mean(list(metrics.values()))), **metrics}
