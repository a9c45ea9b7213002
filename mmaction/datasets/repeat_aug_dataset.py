"""Several augmented clips of each video that is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS

from mmaction.registry import DATASETS

from .base import note
from .samplers import SampleKey
from .seeding import sample_randomness
from .transforms.loading import VideoDecode, VideoInit
from .transforms.pipeline import Pipeline
from .video_dataset import VideoDataset

__all__ = ['RepeatAugDataset', 'repeat_pseudo_collate']


@DATASETS.register_module()
class RepeatAugDataset(VideoDataset):
    """Video files, each opened and decoded once for `num_repeats` clips.

    An item is a list of `num_repeats` samples; the loader needs
    `collate_fn=dict(type='repeat_pseudo_collate')`. For training only.

    Args:
        ann_file: Annotation list.
        pipeline: Transforms; the first opens the video, the second chooses
            frames, the third decodes them.
        data_prefix: Folder of the videos, `dict(video=...)`.
        num_repeats: Clips per video.
        sample_once: Take the same frames for all clips of a video.
        kwargs: Further arguments of `VideoDataset`.

    Raises:
        ValueError: The pipeline does not begin as it has to.

    Source: the class of this name in mmaction2 1.x, https://arxiv.org/abs/1901.09335.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        data_prefix: dict[str, str | None] | None = None,
        num_repeats: int = 4,
        sample_once: bool = False,
        **kwargs: Any,
    ) -> None:
        if num_repeats < 1:
            raise ValueError(f'num_repeats must be at least 1, found {num_repeats}')
        if kwargs.pop('test_mode', False):
            raise ValueError('RepeatAugDataset is for training: use VideoDataset with test_mode')
        self.num_repeats = num_repeats
        self.sample_once = sample_once
        super().__init__(ann_file, pipeline, data_prefix, test_mode=False, **kwargs)
        steps = self.pipeline.transforms
        if (
            len(steps) < 3
            or not isinstance(steps[0], VideoInit)
            or not isinstance(steps[2], VideoDecode)
        ):
            raise ValueError(
                'the pipeline of RepeatAugDataset must begin with DecordInit, a frame sampling and '
                f'DecordDecode (or those of another decoder), found {[str(s) for s in steps[:3]]}'
            )
        # Clips share frames, each of which is converted to RGB once.
        steps[2].is_deferred = False

    def _run(self, key: SampleKey, blank: bool) -> list[Any]:
        """Run the pipeline on one video; `blank` puts black frames in its place."""
        opening, sampling, decoding, *rest = self.pipeline.transforms
        video = self.get_data_info(key)
        if blank:
            video['blank'] = True
        video = opening(video)
        drawn = []
        for repeat in range(self.num_repeats):
            with sample_randomness(*key.entropy, 0 if self.sample_once else repeat):
                known = {k: v for k, v in video.items() if k != 'video_reader'}
                drawn.append(sampling(known))
        # One request, in which each frame is decoded once, for all clips that it is in.
        wanted = [np.asarray(one['frame_inds']).reshape(-1) for one in drawn]
        video['frame_inds'] = np.unique(np.concatenate(wanted))
        video = decoding(video)
        frames = dict(zip(video['frame_inds'], video.pop('imgs'), strict=True))
        uses = Counter(np.concatenate(wanted))
        samples, steps = [], Pipeline(rest)
        for repeat, (one, indices) in enumerate(zip(drawn, wanted, strict=True)):
            # Clips do not share memory: transforms may write into their input.
            imgs = [frames[i] if uses[i] == 1 else frames[i].copy() for i in indices]
            results = {**deepcopy({**video, **one}), 'imgs': imgs}
            samples.append(self._finish(results, steps, key, repeat))
        return samples

    def _finish(
        self,
        results: dict[str, Any],
        steps: Pipeline,
        key: SampleKey,
        repeat: int,
    ) -> Any:
        """Run the rest of the pipeline on one clip."""
        fallback = results.get('decoder_fallback')
        with sample_randomness(*key.entropy, repeat, 1):
            data = steps(results)
        if fallback is not None and repeat == 0:
            note(data, decoder_fallback=(results['filename'], fallback))
        return data


@FUNCTIONS.register_module()
def repeat_pseudo_collate(data_batch: Sequence[Sequence[object]]) -> Any:
    """Collate the lists that `RepeatAugDataset` gives into one batch of all their samples."""
    return pseudo_collate(list(chain.from_iterable(data_batch)))
