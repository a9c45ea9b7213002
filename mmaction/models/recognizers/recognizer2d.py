"""Recognizer of clips by a 2-D backbone, frame by frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmaction.models.common.layers import to_clips
from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptSampleList

from .base import BaseRecognizer

__all__ = ['Recognizer2D']


@MODELS.register_module()
class Recognizer2D(BaseRecognizer):
    """A 2-D backbone sees single frames; the head brings what it says of them together.

    `test_cfg` also takes `num_segs`: frames of a crop in fully convolutional
    testing (`fcn_test`), by default the backbone's `num_segments`.
    """

    test_keys = ('average_clips', 'max_testing_views', 'fcn_test', 'num_segs')

    def run_views(self, inputs: Tensor, test_cfg: ConfigType) -> tuple[Any, dict[str, Any]]:
        """Output of the backbone for the N * M frames of N videos.

        Args:
            inputs: Frames (N, M, C, H, W), M of each video (segments of all crops), or
                clips (N, views, C, T, H, W), whose frames they are.
            test_cfg: `max_testing_views`, which counts frames here, and `fcn_test`.
        """
        if inputs.ndim == 6:
            inputs = inputs.transpose(2, 3).flatten(1, 2)
        segments = getattr(self.backbone, 'num_segments', None)
        at_once = test_cfg.get('max_testing_views')
        if at_once and at_once % (segments or 1):
            raise ValueError(
                f'max_testing_views={at_once} must be a multiple of num_segments={segments}, since '
                'the backbone looks at the frames of a crop together'
            )
        head_kwargs = dict(num_segs=inputs.shape[1])
        if test_cfg.get('fcn_test'):
            head_kwargs['fcn_test'] = True
        return self.run_backbone(inputs.flatten(0, 1), at_once), head_kwargs

    def run_neck(self, x: Any, data_samples: OptSampleList, head_kwargs: dict[str, Any]) -> Any:
        """Output of the neck for the maps of clips; with `fcn_test`, without a neck, these maps."""
        fcn_test, frames = head_kwargs.get('fcn_test'), head_kwargs['num_segs']
        if fcn_test:
            segments = getattr(self.backbone, 'num_segments', None)
            frames = self.test_cfg.get('num_segs') or segments or frames
        if self.with_neck:
            maps = [to_clips(each, frames) for each in (x if isinstance(x, tuple) else (x,))]
            x = super().run_neck(maps, data_samples, head_kwargs)
            if not fcn_test:
                # the neck has brought the frames of a clip together
                x, head_kwargs['num_segs'] = x.squeeze(2), 1
        elif fcn_test:
            x = to_clips(x, frames)
        return x
