"""Windows along a long video, and what is drawn of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.apis.sliding_window import classify_windows, window_span
from mmaction.datasets.video_source import VideoSource
from mmaction.structures.window import Window
from mmaction.visualization.timeline import COLORS, UNSURE, at_frame, draw_timeline, segments

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(scope='module')
def model():
    return init_recognizer(CONFIG, None, device='cpu')


@pytest.fixture(scope='module')
def video():
    return np.random.default_rng(0).integers(0, 256, (50, 60, 80, 3), dtype=np.uint8)


def test_windows_cover_the_video_without_gaps(model, video):
    assert window_span(model) == 15
    windows = list(classify_windows(model, VideoSource(video), stride=1.0, batch_size=2))
    assert [(w.start, w.stop) for w in windows] == [(0, 16), (16, 32), (32, 48), (34, 50)]
    for window in windows:
        # The same clip by the config's own sampling: one clip, the middle one of these frames.
        steps = [dict(step) for step in model.cfg.test_pipeline]
        steps[1].update(num_clips=1)
        alone = inference_recognizer(model, video[window.start : window.stop], steps)
        np.testing.assert_allclose(window.scores, alone.pred_score.numpy(), rtol=1e-4, atol=1e-6)
        assert window.label == int(alone.pred_label)


def test_frames_of_short_videos_repeat_as_in_the_config(video):
    model = init_recognizer(CONFIG, None, device='cpu')
    model.cfg.test_pipeline[1].update(out_of_bound_opt='repeat_last')
    (window,) = classify_windows(model, VideoSource(video[:7]))
    steps = [dict(step) for step in model.cfg.test_pipeline]
    steps[1].update(num_clips=1)
    alone = inference_recognizer(model, video[:7], steps)
    np.testing.assert_allclose(window.scores, alone.pred_score.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('sampling', 'span'),
    [
        (dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips=10), 57),
        (dict(type='SampleFrames', clip_len=16), 16),
        (dict(type='SampleFrames', clip_len=1, num_clips=8), 57),
        (dict(type='UniformSample', clip_len=16), 61),
    ],
)
def test_span_of_a_window(sampling, span):
    cfg = Config(dict(test_pipeline=[dict(type='DecordInit'), sampling]))
    assert window_span(SimpleNamespace(cfg=cfg)) == span


def test_last_window_is_not_shorter_than_half(model, video):
    windows = list(classify_windows(model, VideoSource(video[:48])))
    edges = sorted({w.start for w in windows} | {w.stop for w in windows})
    assert edges == [0, 8, 16, 24, 32, 40, 48]


def test_short_videos_are_one_window(model, video):
    (window,) = classify_windows(model, VideoSource(video[:6]))
    assert (window.start, window.stop) == (0, 6)
    with pytest.raises(ValueError, match='must be positive'):
        list(classify_windows(model, VideoSource(video), stride=0))


def test_segments_and_timeline():
    windows = [
        Window(0, 10, np.array([0.9, 0.1])),
        Window(5, 15, np.array([0.7, 0.3])),
        Window(15, 20, np.array([0.2, 0.8])),
        Window(20, 25, np.array([0.5, 0.5])),
    ]
    np.testing.assert_allclose(at_frame(windows, 7), [0.8, 0.2])
    found = segments(windows, 25, threshold=0.6)
    assert [run[:3] for run in found] == [(0, 15, 0), (15, 20, 1), (20, 25, -1)]
    assert found[0][3] == pytest.approx((0.9 * 5 + 0.8 * 5 + 0.7 * 5) / 15)
    frames = np.zeros((2, 100, 100, 3), np.uint8)
    drawn = draw_timeline(frames, 12, windows, 25, ['run', 'jump'], 0.6)
    assert drawn.shape == (2, 106, 100, 3)
    strip = drawn[0, 103]
    assert strip[10].tolist() == list(COLORS[0])
    assert strip[70].tolist() == list(COLORS[1])
    assert strip[90].tolist() == list(UNSURE)
    assert strip[50].tolist() == [255, 255, 255]  # frame 12 of 25
    assert drawn[0, :100].any()
