"""Recognizers as a user calls them."""

from .inference import inference_recognizer, init_recognizer
from .inferencers import ActionRecogInferencer, MMAction2Inferencer

__all__ = [
    'ActionRecogInferencer',
    'MMAction2Inferencer',
    'inference_recognizer',
    'init_recognizer',
]
