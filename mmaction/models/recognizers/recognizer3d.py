"""Recognizer of clips by a 3-D backbone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmaction.registry import MODELS
from mmaction.utils import ConfigType

from .base import BaseRecognizer

__all__ = ['Recognizer3D']


@MODELS.register_module()
class Recognizer3D(BaseRecognizer):
    """A 3-D backbone sees each view of a video; the head averages what it says of them."""

    def run_views(self, inputs: Tensor, test_cfg: ConfigType) -> tuple[Any, dict[str, Any]]:
        """Output of the backbone for clips (N, views, C, T, H, W), N * views of them."""
        x = self.run_backbone(inputs.flatten(0, 1), test_cfg.get('max_testing_views'))
        return x, dict(fcn_test=True) if test_cfg.get('fcn_test') else {}
