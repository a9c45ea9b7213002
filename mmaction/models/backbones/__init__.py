"""Backbones."""

from .dualformer import DualFormer
from .external import TimmBackbone, TorchvisionBackbone

__all__ = ['DualFormer', 'TimmBackbone', 'TorchvisionBackbone']
