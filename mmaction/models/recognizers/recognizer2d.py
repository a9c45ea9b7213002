"""Recognizer of clips by a 2-D backbone, frame by frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmaction.models.common.layers import to_clips
from mmaction.registry import MODELS
from mmaction.utils import OptSampleList

from .base import BaseRecognizer

__all__ = ['Recognizer2D']


@MODELS.register_module()
class Recognizer2D(BaseRecognizer):
    """A 2-D backbone sees single frames; the head brings what it says of them together.

    `test_cfg` also takes `num_segs`: frames of a crop in fully convolutional
    testing (`fcn_test`), by default the backbone's `num_segments`.
    """

    test_keys = ('average_clips', 'max_testing_views', 'fcn_test', 'num_segs')

    def extract_feat(
        self,
        inputs: Tensor,
        stage: str = 'neck',
        data_samples: OptSampleList = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Features of every frame.

        Args:
            inputs: Frames (N, M, C, H, W), M of each video (segments of all crops), or
                clips (N, views, C, T, H, W), whose frames they are.
            stage: Where to stop: 'backbone', 'neck' or 'head'.
            data_samples: N samples, for a neck with a loss of its own.
            test_mode: Whether to honor `max_testing_views` and `fcn_test`.

        Returns:
            Features of the N * M frames (after a neck, or with `fcn_test`, of clips; for
            'head', the logits), and the arguments that the head takes beside them.

        Raises:
            ValueError: An unknown stage, or `max_testing_views` that parts a video's frames.
        """
        if stage not in ('backbone', 'neck', 'head'):
            raise ValueError(f'stage={stage!r} is none of "backbone", "neck" and "head"')
        if inputs.ndim == 6:
            inputs = inputs.transpose(2, 3).flatten(1, 2)
        num_segs = inputs.shape[1]
        segments = getattr(self.backbone, 'num_segments', None)
        at_once = self.test_cfg.get('max_testing_views') if test_mode else None
        if at_once and at_once % (segments or 1):
            raise ValueError(
                f'max_testing_views={at_once} must be a multiple of num_segments={segments}, since '
                'the backbone looks at the frames of a crop together'
            )
        head_kwargs: dict[str, Any] = dict(num_segs=num_segs)
        x = self.run_backbone(inputs.flatten(0, 1), at_once)
        if stage == 'backbone':
            return x, head_kwargs
        fcn_test = bool(test_mode and self.test_cfg.get('fcn_test'))
        if fcn_test:
            num_segs = self.test_cfg.get('num_segs') or segments or num_segs
            head_kwargs['fcn_test'] = True
        if self.with_neck:
            maps = [to_clips(each, num_segs) for each in (x if isinstance(x, tuple) else (x,))]
            x, head_kwargs['loss_aux'] = self.neck(maps, data_samples=data_samples)
            if not fcn_test:
                # the neck has brought the frames of a clip together
                x, head_kwargs['num_segs'] = x.squeeze(2), 1
        elif fcn_test:
            x = to_clips(x, num_segs)
        if stage == 'head' and self.with_cls_head:
            x = self.cls_head(x, **{k: v for k, v in head_kwargs.items() if k != 'loss_aux'})
        return x, head_kwargs
