"""Clips of a list that int8 is calibrated on, and those by which it is checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.datasets import VideoDataset, reading_report
from mmaction.errors import ConfigError
from mmaction.models.recognizers import Recognizer2D
from mmaction.utils.plurals import how_many

__all__ = ['Agreement', 'Calibration', 'check_agreement', 'listed_clips', 'split_clips']

LEAST_COSINE = 0.99
_MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Calibration:
    """The clips whose activations give the ranges of int8.

    Args:
        ann_file: Their list, `path label`.
        prefix: Folder of the videos; that of the list if None.
        count: How many of them; all if None.
    """

    ann_file: str
    prefix: str | None = None
    count: int | None = 64


def listed_clips(recognizer: Any, source: Calibration) -> Iterator[tuple[Tensor, Tensor]]:
    """Clips of videos that are spread evenly over a list, by the test pipeline.

    Args:
        recognizer: Whose config has the pipeline.
        source: The list.

    Yields:
        One view (1, 3, T, H, W), or all frames (T, 3, H, W) of a 2-D model, uint8, and the label.
        Videos that cannot be read are left out, and named on stderr.

    Raises:
        ConfigError: None can be read.
    """
    by_frame = isinstance(recognizer, Recognizer2D)
    pipeline: list[Any] = steps_for(pipeline_steps(recognizer.cfg), 'video', one_view=not by_frame)
    prefix = str(Path(source.ann_file).parent) if source.prefix is None else source.prefix
    # The number of classes is left out: labels of another dataset calibrate as well.
    dataset = VideoDataset(
        source.ann_file,
        pipeline,
        dict(video=prefix),
        test_mode=True,
        multi_class=bool(recognizer.cls_head.multi_class),
    )
    count = len(dataset) if source.count is None else min(source.count, len(dataset))
    unreadable = []
    # Lists are often sorted by class: the first clips would be of one.
    for index in np.linspace(0, len(dataset) - 1, count).astype(int).tolist():
        item = dataset[index]
        broken = reading_report([item['data_samples']]).unreadable
        for name, reason in broken:
            print(f'left out: {name}: {reason}', file=sys.stderr)
        unreadable += broken
        if not broken:
            yield item['inputs'], item['data_samples'].gt_label
    if len(unreadable) == count:
        raise ConfigError(
            f'{source.ann_file}: none of the {count} clips tried can be read; their folder is '
            f'{prefix or "."} (--data-prefix)'
        )


def split_clips(recognizer: Any, source: Calibration) -> tuple[list[Tensor], list[Tensor]]:
    """The clips to calibrate on, and up to 8 others of the list to check on.

    A list without more clips than are asked for gives up a quarter of them for the check. A single
    one serves for both.
    """
    assert source.count is not None
    more = Calibration(source.ann_file, source.prefix, source.count + _MOST_HELD_OUT)
    clips = [clip for clip, _ in listed_clips(recognizer, more)]
    held = max(1, min(_MOST_HELD_OUT, max(len(clips) - source.count, len(clips) // 4)))
    few = min(held, len(clips) - held)
    # Between the first and the last, so that no class of a sorted list is missing in either.
    picked = set(np.linspace(0, len(clips) - 1, few + 2)[1:-1].round().astype(int).tolist())
    smaller = [clip for i, clip in enumerate(clips) if i in picked]
    larger = [clip for i, clip in enumerate(clips) if i not in picked]
    seen, unseen = (larger, smaller) if few == held else (smaller, larger)
    return seen or clips, unseen


@dataclass(frozen=True)
class Agreement:
    """How far the scores of clips agree with those of the recognizer.

    Args:
        cosine: Mean over the clips of the cosine of their scores.
        logit_cosine: The same of their logits. Probabilities that are nearly equal for all classes
            have a cosine near 1 whatever they are; logits do not.
        same: Share of the clips with the same best class.
        count: Number of clips.
    """

    cosine: float
    logit_cosine: float
    same: float
    count: int

    def __str__(self) -> str:
        return (
            f'on {how_many(self.count, "clip")}, the same best class in {self.same:.0%}, a '
            f'cosine of {self.cosine:.4f} of the scores and {self.logit_cosine:.4f} of the logits'
        )


def check_agreement(
    both: Callable[[Tensor], tuple[Tensor, Tensor]],
    clips: list[Tensor],
    to_logits: Callable[[Tensor], Tensor],
) -> Agreement:
    """Hold the scores of clips by an export of low precision against those of the recognizer.

    Args:
        both: Gives the scores of a clip by the export and by the recognizer, (K,) or (V, K).
        clips: The clips.
        to_logits: Makes logits of scores.

    Raises:
        ValueError: The mean cosine of scores or logits is less than 0.99.
    """
    rows = []
    for clip in clips:
        found, expected = (scores.reshape(-1, scores.shape[-1]) for scores in both(clip))
        cosines = F.cosine_similarity(found, expected)
        logit_cosines = F.cosine_similarity(to_logits(found), to_logits(expected))
        same = (found.argmax(-1) == expected.argmax(-1)).float()
        rows.append([float(each.mean()) for each in (cosines, logit_cosines, same)])
    cosine, logit_cosine, share = np.mean(rows, axis=0).tolist()
    agreement = Agreement(cosine, logit_cosine, share, len(clips))
    if not min(agreement.cosine, agreement.logit_cosine) >= LEAST_COSINE:
        raise ValueError(
            f'the export does not agree with the model: {agreement}, below {LEAST_COSINE}. int8 '
            'may need more clips (--int8-clips), or ones nearer to those that will be classified'
        )
    return agreement
