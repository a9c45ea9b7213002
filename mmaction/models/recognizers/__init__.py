"""Recognizers."""

from .base import BaseRecognizer
from .recognizer2d import Recognizer2D
from .recognizer3d import Recognizer3D
from .recognizer3d_tl import Recognizer3D_TL

__all__ = ['BaseRecognizer', 'Recognizer2D', 'Recognizer3D', 'Recognizer3D_TL']
