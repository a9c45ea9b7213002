"""Heads."""

from .base import BaseHead
from .i3d_head import I3DHead

__all__ = ['BaseHead', 'I3DHead']
