"""Backbones."""

from .c3d import C3D
from .dualformer import DualFormer
from .external import TimmBackbone, TorchvisionBackbone
from .mobilenet_v2 import MobileNetV2, MobileNetV2TSM
from .mvit import MViT
from .resnet import C2D, ResNet
from .resnet3d import ResNet2Plus1d, ResNet3d, ResNet3dCSN
from .resnet3d_slowfast import ResNet3dPathway, ResNet3dSlowFast, ResNet3dSlowOnly
from .resnet_tsm import ResNetTIN, ResNetTSM
from .stored_features import StoredFeatures
from .swin import SwinTransformer3D
from .tanet import TANet
from .timesformer import TimeSformer
from .transformers_backbone import TransformersBackbone
from .uniformer import UniFormer
from .uniformerv2 import UniFormerV2
from .vit_mae import VisionTransformer
from .x3d import X3D

__all__ = [
    'C2D',
    'C3D',
    'X3D',
    'DualFormer',
    'MViT',
    'MobileNetV2',
    'MobileNetV2TSM',
    'ResNet',
    'ResNet2Plus1d',
    'ResNet3d',
    'ResNet3dCSN',
    'ResNet3dPathway',
    'ResNet3dSlowFast',
    'ResNet3dSlowOnly',
    'ResNetTIN',
    'ResNetTSM',
    'StoredFeatures',
    'SwinTransformer3D',
    'TANet',
    'TimeSformer',
    'TimmBackbone',
    'TorchvisionBackbone',
    'TransformersBackbone',
    'UniFormer',
    'UniFormerV2',
    'VisionTransformer',
]
