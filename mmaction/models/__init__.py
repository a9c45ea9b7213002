"""Models: backbones, heads, losses, recognizers, preprocessors."""

from . import backbones, data_preprocessors, heads, losses, necks, recognizers, utils
from .backbones import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .necks import *  # noqa: F403
from .recognizers import *  # noqa: F403
from .utils import *  # noqa: F403

__all__ = [
    *backbones.__all__,
    *data_preprocessors.__all__,
    *heads.__all__,
    *losses.__all__,
    *necks.__all__,
    *recognizers.__all__,
    *utils.__all__,
]
