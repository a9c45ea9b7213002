"""Recognizer of clips by a 3-D backbone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmaction.registry import MODELS
from mmaction.utils import OptSampleList

from .base import BaseRecognizer

__all__ = ['Recognizer3D']


@MODELS.register_module()
class Recognizer3D(BaseRecognizer):
    """A 3-D backbone sees each view of a video; the head averages what it says of them."""

    def extract_feat(
        self,
        inputs: Tensor,
        stage: str = 'neck',
        data_samples: OptSampleList = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Features of every view.

        Args:
            inputs: Clips (N, views, C, T, H, W).
            stage: Where to stop: 'backbone', 'neck' or 'head'.
            data_samples: N samples, for a neck with a loss of its own.
            test_mode: Whether to honor `max_testing_views` and `fcn_test`.

        Returns:
            Features of the N * views views (for 'head', their logits), and the
            arguments that the head takes beside them.

        Raises:
            ValueError: An unknown stage.
        """
        if stage not in ('backbone', 'neck', 'head'):
            raise ValueError(f'stage={stage!r} is none of "backbone", "neck" and "head"')
        views = inputs.flatten(0, 1)
        x = self.run_backbone(views, self.test_cfg.get('max_testing_views') if test_mode else None)
        head_kwargs: dict[str, Any] = {}
        if test_mode and self.test_cfg.get('fcn_test'):
            head_kwargs['fcn_test'] = True
        if stage == 'backbone':
            return x, head_kwargs
        if self.with_neck:
            x, loss_aux = self.neck(x, data_samples=data_samples)
            head_kwargs['loss_aux'] = loss_aux
        if stage == 'head' and self.with_cls_head:
            x = self.cls_head(x, **{k: v for k, v in head_kwargs.items() if k != 'loss_aux'})
        return x, head_kwargs
