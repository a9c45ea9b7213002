"""Backbones."""

from .dualformer import DualFormer
from .external import TimmBackbone, TorchvisionBackbone
from .mvit import MViT
from .swin import SwinTransformer3D
from .timesformer import TimeSformer
from .uniformer import UniFormer
from .uniformerv2 import UniFormerV2
from .vit_mae import VisionTransformer

__all__ = [
    'DualFormer',
    'MViT',
    'SwinTransformer3D',
    'TimeSformer',
    'TimmBackbone',
    'TorchvisionBackbone',
    'UniFormer',
    'UniFormerV2',
    'VisionTransformer',
]
