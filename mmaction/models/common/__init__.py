"""Building blocks that networks share."""

from .layers import Conv2plus1d
from .tam import TAM

__all__ = ['TAM', 'Conv2plus1d']
