"""Running a training or a test: the runner, its hooks and the optimizers."""

from . import hooks, model, optimizers, runner  # noqa: F401
from .hooks import *  # noqa: F403
from .model import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .runner import *  # noqa: F403
