"""Measures of predictions, as functions of arrays."""

from .classification import confusion_matrix, mean_class_accuracy, top_k_accuracy, top_k_classes
from .intervals import wilson_interval
from .precision import mean_average_precision, mmit_mean_average_precision
from .scores import get_weighted_score, softmax

__all__ = [
    'confusion_matrix',
    'get_weighted_score',
    'mean_average_precision',
    'mean_class_accuracy',
    'mmit_mean_average_precision',
    'softmax',
    'top_k_accuracy',
    'top_k_classes',
    'wilson_interval',
]
