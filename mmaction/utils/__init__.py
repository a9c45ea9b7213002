"""Small things without a subject of their own, and the names that mmaction2 has here.

The names are looked up when they are first used: a command line that only needs
`mmaction.utils.cli` waits for neither torch nor mmengine. Some of them live in
packages above this one, which is allowed here and nowhere else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .collect_env import collect_env

if TYPE_CHECKING:
    from .setup_env import register_all_modules
    from .typing_utils import ConfigType, ForwardResults, OptConfigType, OptSampleList, SampleList

__all__ = [
    'ConfigType',
    'ForwardResults',
    'GradCAM',
    'OptConfigType',
    'OptSampleList',
    'SampleList',
    'VideoWriter',
    'collect_env',
    'frame_extract',
    'get_random_string',
    'get_shm_dir',
    'get_str_type',
    'get_thread_id',
    'register_all_modules',
    'track',
    'track_on_main_process',
]

_MODULES = {
    'ConfigType': 'mmaction.utils.typing_utils',
    'ForwardResults': 'mmaction.utils.typing_utils',
    'GradCAM': 'mmaction.visualization',
    'VideoWriter': 'mmaction.utils.misc',
    'frame_extract': 'mmaction.datasets.frame_extract',
    'get_random_string': 'mmaction.utils.misc',
    'get_shm_dir': 'mmaction.utils.misc',
    'get_str_type': 'mmaction.utils.misc',
    'get_thread_id': 'mmaction.utils.misc',
    'track': 'mmaction.utils.misc',
    'track_on_main_process': 'mmaction.utils.misc',
    'OptConfigType': 'mmaction.utils.typing_utils',
    'OptSampleList': 'mmaction.utils.typing_utils',
    'SampleList': 'mmaction.utils.typing_utils',
    'register_all_modules': 'mmaction.utils.setup_env',
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
