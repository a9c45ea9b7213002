"""Metrics that a config names."""

from .acc_metric import AccMetric
from .clip_metric import ClipMetric
from .confusion_matrix import ConfusionMatrix

__all__ = ['AccMetric', 'ClipMetric', 'ConfusionMatrix']
