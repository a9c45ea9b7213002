"""Recognizer of clips by a 2-D backbone, frame by frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmaction.registry import MODELS
from mmaction.utils import OptSampleList

from .base import BaseRecognizer


@MODELS.register_module()
class Recognizer2D(BaseRecognizer):
    """A 2-D backbone sees single frames; the head brings what it says of them together."""

    test_keys = ('average_clips',)

    def extract_feat(
        self,
        inputs: Tensor,
        stage: str = 'neck',
        data_samples: OptSampleList = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Features of every frame.

        Args:
            inputs: Frames (N, M, C, H, W), M of each video, or clips
                (N, views, C, T, H, W), whose frames they are.
            stage: Where to stop: 'backbone', 'neck' or 'head'.
            data_samples: N samples, for a neck with a loss of its own.
            test_mode: Not used.

        Returns:
            Features of the N * M frames (for 'head', the logits of the videos),
            and the arguments that the head takes beside them.

        Raises:
            ValueError: An unknown stage.
        """
        if stage not in ('backbone', 'neck', 'head'):
            raise ValueError(f'stage={stage!r} is none of "backbone", "neck" and "head"')
        if inputs.ndim == 6:
            inputs = inputs.transpose(2, 3).flatten(1, 2)
        head_kwargs: dict[str, Any] = dict(num_segs=inputs.shape[1])
        x = self.backbone(inputs.flatten(0, 1))
        if stage == 'backbone':
            return x, head_kwargs
        if self.with_neck:
            x, head_kwargs['loss_aux'] = self.neck(x, data_samples=data_samples)
        if stage == 'head' and self.with_cls_head:
            x = self.cls_head(x, num_segs=head_kwargs['num_segs'])
        return x, head_kwargs
