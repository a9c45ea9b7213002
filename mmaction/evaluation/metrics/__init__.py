"""Metrics that a config names."""

from .acc_metric import AccMetric
from .clip_metric import ClipMetric
from .confusion_matrix import ConfusionMatrix
from .hvu_metric import HVUMetric

__all__ = ['AccMetric', 'ClipMetric', 'ConfusionMatrix', 'HVUMetric']
