"""Classifying a long video by a window that slides along it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.datasets.video_source import VideoSource
from mmaction.structures.window import Window

from .inference import load_clip, predict

__all__ = ['classify_windows', 'window_span']


# Frames of a window of models that see frames spread over a whole video, whatever its length
# (TSN, TSM, UniformSample): as many as 8 x 8 or 32 x 2 frames of others.
SPREAD_SPAN = 64


def _sampling(model: Any) -> tuple[int, int]:
    """Frames that a model sees of a window, and the distance of each to the next."""
    steps = [step for step in pipeline_steps(model.cfg) if 'clip_len' in step]
    if not steps:
        raise ValueError("the config's test pipeline has no SampleFrames with a clip_len")
    step = steps[0]
    if step['clip_len'] == 1:  # the clips are the segments of one
        count = int(step.get('num_clips', 1))
    else:
        count = int(step['clip_len'])
        if 'frame_interval' in step or step['type'] == 'SampleFrames':
            return count, int(step.get('frame_interval', 1))
    return count, max(SPREAD_SPAN // count, 1)


def window_span(model: object) -> int:
    """Frames from the first to the last of a clip of the config, both included.

    Raises:
        ValueError: The test pipeline does not sample clips.
    """
    count, interval = _sampling(model)
    return (count - 1) * interval + 1


def classify_windows(
    model: Any, frames: VideoSource, stride: float = 0.5, batch_size: int = 4
) -> Iterator[Window]:
    """Classify windows of one clip each, by one view, in order.

    Args:
        model: As `init_recognizer` returns it.
        frames: The video. It is read window by window.
        stride: From one window to the next, in lengths of a window. The last
            window ends with the video.
        batch_size: Windows that the model sees at once.

    Raises:
        ValueError: `stride` or `batch_size` is not positive, or frames cannot be read.
    """
    if stride <= 0 or batch_size < 1:
        raise ValueError(f'stride={stride} and batch_size={batch_size} must be positive')
    (_, interval), total = _sampling(model), len(frames)
    # With the frames between a clip and the next one, so that windows meet without gaps: else
    # single frames belong to one window alone and flicker in the timeline.
    span = window_span(model) + interval - 1
    last = max(total - span, 0)
    starts = [*range(0, last, max(round(stride * span), 1)), last]
    steps = steps_for(pipeline_steps(model.cfg), 'array', one_view=True)
    for i, step in enumerate(steps):
        if 'clip_len' in step:
            # A window holds the frames of a clip and no others: all of them are taken.
            kept: dict[str, Any] = {
                key: step[key] for key in ('num_clips', 'out_of_bound_opt') if key in step
            }
            steps[i] = dict(type='SampleFrames', clip_len=step['clip_len'], test_mode=True, **kept)
    for first in range(0, len(starts), batch_size):
        part = starts[first : first + batch_size]
        clips = []
        for start in part:
            indices = np.arange(start, min(start + span, total), interval)
            clips.append(load_clip(model, frames.read(indices), steps))
        for start, sample in zip(part, predict(model, clips), strict=True):
            scores = sample.pred_score.numpy()
            yield Window(start, min(start + span, total), scores.reshape(-1, scores.shape[-1])[0])
