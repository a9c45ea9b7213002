"""Pictures of clips, predictions and runs."""

from .grad_cam import GradCAM, overlay
from .labels import draw_top_classes
from .media import ClipWriter, check_out_name, contact_sheet, resize_frames

__all__ = [
    'ClipWriter',
    'GradCAM',
    'check_out_name',
    'contact_sheet',
    'draw_top_classes',
    'overlay',
    'resize_frames',
]
