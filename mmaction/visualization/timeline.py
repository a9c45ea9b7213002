"""What is said of each part of a video, as a strip below its frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .text import draw_top_classes

if TYPE_CHECKING:
    from mmaction.structures.window import Window

__all__ = ['at_frame', 'draw_timeline', 'segments']

# Distinguishable with any color vision; Okabe and Ito's set without black.
COLORS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)
UNSURE = (90, 90, 90)


def at_frame(windows: Sequence[Window], index: int) -> np.ndarray:
    """The mean scores of the windows that hold a frame, (num_classes,)."""
    holding = [w.scores for w in windows if w.start <= index < w.stop]
    mean: np.ndarray = np.mean(holding, axis=0)
    return mean


def segments(
    windows: Sequence[Window], total: int, threshold: float = 0.0
) -> list[tuple[int, int, int, float]]:
    """Runs of frames with the same best class.

    Args:
        windows: They cover the video.
        total: Number of frames.
        threshold: Frames whose best score is below it have class -1.

    Returns:
        (first frame, frame after the last, class, mean score of it) of each run.
    """
    runs: list[tuple[int, int, int, float]] = []
    edges = sorted({0, total, *(w.start for w in windows), *(w.stop for w in windows)})
    for start, stop in pairwise(edges):
        scores = at_frame(windows, start)
        label = int(scores.argmax()) if scores.max() >= threshold else -1
        score = float(scores.max())
        if runs and runs[-1][2] == label:
            first, middle, _, before = runs[-1]
            mean = (before * (middle - first) + score * (stop - middle)) / (stop - first)
            runs[-1] = (first, stop, label, mean)
        else:
            runs.append((start, stop, label, score))
    return runs


def draw_timeline(
    frames: np.ndarray,
    first: int,
    windows: Sequence[Window],
    total: int,
    names: Sequence[str],
    threshold: float = 0.0,
) -> np.ndarray:
    """Put a strip of the whole video below each frame, and the best classes into it.

    A class has one color, parts below the threshold are gray, and a white line
    marks the frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB, frames `first`, `first + 1`, ... of the video.
        first: Number of the first of them.
        windows: What was said of the video.
        total: Its number of frames.
        names: Of the classes.
        threshold: As in `segments`.

    Returns:
        (T, H + strip, W, 3) uint8.
    """
    height, width = frames.shape[1:3]
    strip = np.empty((max(round(height * 0.06), 4), width, 3), np.uint8)
    for start, stop, label, _ in segments(windows, total, threshold):
        left, right = round(start / total * width), round(stop / total * width)
        strip[:, left:right] = UNSURE if label < 0 else COLORS[label % len(COLORS)]
    drawn = []
    for index, frame in enumerate(frames, start=first):
        scores = at_frame(windows, index)
        best = scores.argsort()[::-1][:3]
        top = [(names[i], float(scores[i])) for i in best if scores[i] >= threshold]
        labeled = draw_top_classes(frame[None], top or [('?', float(scores.max()))])[0]
        marked = strip.copy()
        at = min(round((index + 0.5) / total * width), width - 1)
        marked[:, max(at - 1, 0) : at + 2] = 255
        drawn.append(np.concatenate([labeled, marked]))
    return np.stack(drawn)
