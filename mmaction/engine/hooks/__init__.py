"""What happens around the steps of a run."""

from .checkpoint import CheckpointHook
from .curve import CurveHook
from .start_report import StartReportHook
from .test_results import TestResultsHook

__all__ = ['CheckpointHook', 'CurveHook', 'StartReportHook', 'TestResultsHook']
