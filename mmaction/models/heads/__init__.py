"""Heads."""

from .base import BaseHead
from .i3d_head import I3DHead, I3DHead_Teacher, I3DHead_TL
from .mvit_head import MViTHead
from .timesformer_head import TimeSformerHead
from .tsn_head import TSNHead
from .uniformer_head import UniFormerHead

__all__ = [
    'BaseHead',
    'I3DHead',
    'I3DHead_TL',
    'I3DHead_Teacher',
    'MViTHead',
    'TSNHead',
    'TimeSformerHead',
    'UniFormerHead',
]
