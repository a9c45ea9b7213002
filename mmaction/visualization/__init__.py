"""Pictures of clips, predictions and runs."""

from .attention import attention_blocks, attention_saliency
from .grad_cam import GradCAM, overlay
from .text import draw_top_classes, side_by_side
from .video_writer import ClipWriter, check_out_name, contact_sheet, enlarge, resize_frames
from .visualizer import (
    ActionVisualizer,
    LocalVisBackend,
    TensorboardVisBackend,
    TrackioVisBackend,
    WandbVisBackend,
)

__all__ = [
    'ActionVisualizer',
    'ClipWriter',
    'GradCAM',
    'LocalVisBackend',
    'TensorboardVisBackend',
    'TrackioVisBackend',
    'WandbVisBackend',
    'attention_blocks',
    'attention_saliency',
    'check_out_name',
    'contact_sheet',
    'draw_top_classes',
    'enlarge',
    'overlay',
    'resize_frames',
    'side_by_side',
]
