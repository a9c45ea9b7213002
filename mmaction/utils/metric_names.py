"""Names of metrics: those of this package, and the ones that mmaction2 0.x prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ['PUBLISHED_NAMES', 'published_names']

PUBLISHED_NAMES = {
    'top1_acc': 'acc/top1',
    'top5_acc': 'acc/top5',
    'mean_class_accuracy': 'acc/mean1',
    'mean_average_precision': 'acc/mean_average_precision',
    'mmit_mean_average_precision': 'acc/mmit_mean_average_precision',
}
"""Names of mmaction2 0.x, and the metric here that each means."""


def published_names(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics under the names that mmaction2 0.x prints.

    `acc/top1` is `top1_acc`, `acc/mean1` is `mean_class_accuracy`; the rest
    loses its prefix. What is not a number is left out.
    """
    named = {}
    for key, value in metrics.items():
        name = key.rsplit('/', 1)[-1]
        if re.fullmatch(r'top\d+', name):
            name += '_acc'
        elif name == 'mean1':
            name = 'mean_class_accuracy'
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            named[name] = float(value)
    return named
