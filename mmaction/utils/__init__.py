"""The little that has no other room: type aliases and module registration."""

from .setup_env import register_all_modules
from .typing_utils import ConfigType, ForwardResults, OptConfigType, OptSampleList, SampleList

__all__ = [
    'ConfigType',
    'ForwardResults',
    'OptConfigType',
    'OptSampleList',
    'SampleList',
    'register_all_modules',
]
