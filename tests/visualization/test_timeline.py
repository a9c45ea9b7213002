"""The timeline of a long video: which class holds when."""

import numpy as np
import pytest

from mmaction.structures.window import Window
from mmaction.visualization.timeline import draw_timeline, segments


def window(start, stop, *scores):
    return Window(start, stop, np.array(scores))


def test_score_at_the_threshold_is_shown():
    windows = [window(0, 4, 0.5, 0.25), window(4, 8, 0.25, 0.375)]
    assert segments(windows, 8, 0.5) == [(0, 4, 0, 0.5), (4, 8, -1, 0.375)]
    assert segments(windows, 8, 0.375) == [(0, 4, 0, 0.5), (4, 8, 1, 0.375)]


def test_runs_of_one_class_are_joined_with_their_mean_score():
    windows = [window(0, 2, 1.0, 0.0), window(2, 8, 0.6, 0.4)]
    ((first, stop, label, score),) = segments(windows, 8)
    assert (first, stop, label) == (0, 8, 0)
    assert score == pytest.approx((2 * 1.0 + 6 * 0.6) / 8)


def test_overlapping_windows_are_averaged():
    windows = [window(0, 6, 1.0, 0.0), window(4, 10, 0.0, 0.8)]
    assert segments(windows, 10) == [(0, 6, 0, pytest.approx((4 + 2 * 0.5) / 6)), (6, 10, 1, 0.8)]


def test_timeline_below_the_frames():
    windows = [window(0, 5, 1.0, 0.0), window(5, 10, 0.0, 0.2)]
    frames = np.full((2, 224, 320, 3), 90, np.uint8)
    drawn = draw_timeline(frames, 4, windows, 10, ['run', 'jump'], threshold=0.5)
    assert drawn.shape[0] == 2
    assert drawn.shape[1] > 224
    strip = drawn[0, -3].astype(int)
    left, right = strip[20], strip[-20]
    assert np.ptp(left) > 20  # a color
    assert np.ptp(right) <= 2  # gray: below the threshold
    # The mark of the current frame moves by a tenth of the width.
    positions = [np.flatnonzero((page[-3] > 240).all(-1)).mean() for page in drawn]
    assert positions[1] - positions[0] == pytest.approx(32, abs=2)
