"""What happens around the steps of a run."""

from .checkpoint_hook import CheckpointHook
from .data_time import DataTimeHook, ThroughputHook
from .graceful_stop import StopHook
from .non_finite import NonFiniteLossHook
from .output import OutputHook
from .progress_bar import ProgressHook
from .results_writer import TestResultsHook
from .run_record import ProvenanceHook
from .run_summary import StartReportHook
from .runtime_info import RuntimeInfoHook
from .training_curve import CurveHook
from .unreadable_clips import UnreadableClipsHook
from .visualization import VisualizationHook

__all__ = [
    'CheckpointHook',
    'CurveHook',
    'DataTimeHook',
    'NonFiniteLossHook',
    'OutputHook',
    'ProgressHook',
    'ProvenanceHook',
    'RuntimeInfoHook',
    'StartReportHook',
    'StopHook',
    'TestResultsHook',
    'ThroughputHook',
    'UnreadableClipsHook',
    'VisualizationHook',
]
