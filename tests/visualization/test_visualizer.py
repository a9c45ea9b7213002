"""ActionVisualizer and LocalVisBackend: what is drawn and where it is written."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.registry import VISBACKENDS, VISUALIZERS
from mmaction.structures import ActionDataSample
from mmaction.visualization import ActionVisualizer, LocalVisBackend
from tests.video_factory import write_video

NAMES = ['running', 'jumping', 'falling']


@pytest.fixture
def visualizer(tmp_path):
    visualizer = VISUALIZERS.build(
        dict(
            type='ActionVisualizer',
            name=tmp_path.name,
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path),
        )
    )
    visualizer.dataset_meta = dict(classes=NAMES)
    return visualizer


@pytest.fixture
def frames():
    return np.full((3, 120, 160, 3), 128, np.uint8)


@pytest.fixture
def sample():
    scores = torch.tensor([0.2, 0.7, 0.1])
    return ActionDataSample().set_gt_label(2).set_pred_score(scores).set_pred_label(1)


def read(folder):
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def corners(pages):
    """Whether something is drawn at the top left, and at the bottom left."""
    changed = (pages != 128).any((0, 3))
    return bool(changed[:30, :20].any()), bool(changed[90:, :20].any())


def test_frames_are_saved_like_mmaction2(visualizer, frames, sample, tmp_path):
    assert isinstance(visualizer, ActionVisualizer)
    assert VISBACKENDS.get('LocalVisBackend') is LocalVisBackend
    visualizer.add_datasample('a clip', frames, sample, step=7)
    written = read(tmp_path / 'vis_data' / 'a_clip' / 'frames_7')
    assert written.shape == frames.shape
    assert corners(written) == (True, True)
    assert (frames == 128).all()
    # the prediction's panel has a row of each class, and its bars the scores' lengths
    best, other = (246, 173, 85), (99, 132, 173)
    lengths = [(written[0] == color).all(-1).any(0).sum() for color in (best, other)]
    assert lengths[0] / lengths[1] == pytest.approx(3.5, rel=0.25)


@pytest.mark.parametrize(
    ('options', 'drawn'),
    [
        (dict(draw_gt=False), (False, True)),
        (dict(draw_pred=False), (True, False)),
        (dict(draw_pred=False, draw_gt=False), (False, False)),
        (dict(draw_score=False), (True, True)),
        (dict(text_cfg=dict(font_scale=2, font_color='red')), (True, True)),
    ],
)
def test_drawn_text(visualizer, frames, sample, tmp_path, options, drawn):
    visualizer.add_datasample('x', list(frames), sample, out_path=tmp_path / 'out', **options)
    pages = read(tmp_path / 'out')
    assert corners(pages) == drawn
    bars = (pages == (246, 173, 85)).all(-1).any()
    assert bars == (drawn[1] and options.get('draw_score', True))
    red = (pages[..., 0] > 200) & (pages[..., 1] < 60)
    assert red.any() == ('text_cfg' in options)


@pytest.mark.parametrize(('kind', 'name'), [('gif', 'film.gif'), ('video', 'film.mp4')])
def test_video_sizes_and_sources(visualizer, tmp_path, kind, name):
    video = write_video(tmp_path / 'clip.mp4', 5, 64, 48)
    options = dict(out_type=kind, fps=5)
    visualizer.add_datasample('x', video, out_path=tmp_path / 'film', **options)
    assert (tmp_path / name).stat().st_size > 0
    visualizer.add_datasample('x', str(video), step=3, rescale_factor=2, **options)
    assert (tmp_path / 'vis_data' / 'x' / f'step_3{name[4:]}').is_file()
    assert visualizer.get_image().shape == (96, 128, 3)
    visualizer.add_datasample('y', video, target_resolution=(32, -1))
    folder = tmp_path / 'vis_data' / 'y' / 'frames_0'
    assert read(folder).shape == (5, 24, 32, 3)
    visualizer.add_datasample('z', folder)
    assert (read(tmp_path / 'vis_data' / 'z' / 'frames_0') == read(folder)).all()


def test_multi_label_unknown_and_numeric_labels(visualizer, frames, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'mmaction.visualization.visualizer.draw_text',
        lambda pages, text, *_, **__: drawn.append(text) or pages,
    )
    for label in (torch.tensor([1.0, 0.0, 1.0]), 1, -1):
        visualizer.add_datasample('x', frames, ActionDataSample().set_gt_label(label))
    visualizer.dataset_meta = None
    visualizer.add_datasample('x', frames, ActionDataSample().set_gt_label(1))
    assert drawn == ['label: running, falling', 'label: jumping', 'label: class 1']


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(out_type='avi'), r"out_type='avi' must be one of \('img', 'gif', 'video'\)"),
        (dict(rescale_factor=0), 'rescale_factor=0 must be positive'),
        (dict(text_cfg=dict(colors='red')), r"unknown keys \['colors'\]"),
        (dict(target_resolution=(0, 0)), 'no .width, height.'),
    ],
)
def test_errors(visualizer, frames, options, text):
    with pytest.raises(ValueError, match=text):
        visualizer.add_datasample('x', frames, **options)
