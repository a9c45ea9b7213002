"""Data structures that travel between pipeline, model and metric."""

from .action_data_sample import ActionDataSample

__all__ = ['ActionDataSample']
