"""What happens around the steps of a run."""

from .checkpoint import CheckpointHook
from .curve import CurveHook
from .non_finite import NonFiniteLossHook
from .progress import DataTimeHook, ProgressHook
from .records import ProvenanceHook
from .runtime_info import RuntimeInfoHook
from .start_report import StartReportHook
from .stop import StopHook
from .test_results import TestResultsHook
from .unreadable import UnreadableClipsHook
from .visualization import VisualizationHook

__all__ = [
    'CheckpointHook',
    'CurveHook',
    'DataTimeHook',
    'NonFiniteLossHook',
    'ProgressHook',
    'ProvenanceHook',
    'RuntimeInfoHook',
    'StartReportHook',
    'StopHook',
    'TestResultsHook',
    'UnreadableClipsHook',
    'VisualizationHook',
]
