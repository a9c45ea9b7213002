"""Labels in the form that losses take."""

from __future__ import annotations

from typing import Any

import torch

from mmaction.registry import TRANSFORMS

from .base import BaseTransform

__all__ = ['LoadHVULabel']


@TRANSFORMS.register_module()
class LoadHVULabel(BaseTransform):
    """Labels by category as one vector, for datasets other than `HVUDataset`.

    Reads label, a dict of categories and their labels, which count from 0 within
    each, categories and category_nums, the number of labels of each. Writes label,
    a float vector of zeros and ones over the labels of all categories in their
    order; mask, a 1 where the category of a label is in the dict; and
    category_mask, likewise for each category. Categories that `categories` does not
    name are not trained on, so their labels are left out. What `HVUDataset` gives has this
    form already and is left as it is.

    Args:
        kwargs: Not used.

    Source: the transform of this name in mmaction2 1.2.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Make the vectors.

        Raises:
            ValueError: A label is outside of its category.
        """
        if 'category_mask' in results:
            return results
        names, numbers = list(results['categories']), list(results['category_nums'])
        parts, mask = [], []
        for name, number in zip(names, numbers, strict=True):
            given = results['label'].get(name, [])
            if any(not 0 <= label < number for label in given):
                raise ValueError(f'labels {given} of {name!r} must lie in 0 to {number - 1}')
            part = torch.zeros(number)
            part[given] = 1.0
            parts.append(part)
            mask.append(float(name in results['label']))
        results['category_mask'] = torch.tensor(mask)
        results['mask'] = results['category_mask'].repeat_interleave(torch.tensor(numbers))
        results['label'] = torch.cat(parts)
        return results
