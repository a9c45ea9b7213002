"""Heads."""

from .base import AvgConsensus, BaseHead
from .cnn3d_heads import SlowFastHead, X3DHead
from .feature_head import FeatureHead
from .i3d_head import I3DHead, I3DHead_Teacher, I3DHead_TL
from .probe_heads import AttentiveHead, KNNHead, LinearHead
from .transformer_heads import MViTHead, TimeSformerHead, UniFormerHead
from .tsn_head import TPNHead, TRNHead, TSMHead, TSNHead

__all__ = [
    'AttentiveHead',
    'AvgConsensus',
    'BaseHead',
    'FeatureHead',
    'I3DHead',
    'I3DHead_TL',
    'I3DHead_Teacher',
    'KNNHead',
    'LinearHead',
    'MViTHead',
    'SlowFastHead',
    'TPNHead',
    'TRNHead',
    'TSMHead',
    'TSNHead',
    'TimeSformerHead',
    'UniFormerHead',
    'X3DHead',
]
