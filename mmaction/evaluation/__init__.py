"""Evaluation: functions of arrays, and the metrics that a config names."""

from . import functional, metrics
from .functional import *  # noqa: F403
from .metrics import *  # noqa: F403

__all__ = [*functional.__all__, *metrics.__all__]
