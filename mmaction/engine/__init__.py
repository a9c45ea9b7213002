"""Running a training or a test: the runner, its hooks and the optimizers."""

from . import averaged_model, hooks, model, optimizers, runner
from .averaged_model import *  # noqa: F403
from .device_settings import leave_out_apple_gpus
from .hooks import *  # noqa: F403
from .model import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .runner import *  # noqa: F403

leave_out_apple_gpus()

__all__ = [
    *averaged_model.__all__,
    *hooks.__all__,
    *model.__all__,
    *optimizers.__all__,
    *runner.__all__,
]
