"""Heads."""

from .base import BaseHead
from .i3d_head import I3DHead, I3DHead_Teacher, I3DHead_TL
from .tsn_head import TSNHead

__all__ = ['BaseHead', 'I3DHead', 'I3DHead_TL', 'I3DHead_Teacher', 'TSNHead']
