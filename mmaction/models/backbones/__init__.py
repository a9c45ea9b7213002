"""Backbones."""

from .dualformer import DualFormer
from .library import TimmBackbone, TorchvisionBackbone

__all__ = ['DualFormer', 'TimmBackbone', 'TorchvisionBackbone']
