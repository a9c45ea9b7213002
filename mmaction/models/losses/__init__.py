"""Losses."""

from .base import BaseWeightedLoss
from .cross_entropy_loss import BCELossWithLogits, CBFocalLoss, CrossEntropyLoss, NLLLoss
from .hvu_loss import HVULoss
from .soft_ce_tl import SoftCE_TL

__all__ = [
    'BCELossWithLogits',
    'BaseWeightedLoss',
    'CBFocalLoss',
    'CrossEntropyLoss',
    'HVULoss',
    'NLLLoss',
    'SoftCE_TL',
]
