"""Predictions and captions in frames."""

import numpy as np
import pytest

from mmaction.visualization.text import draw_text, draw_top_classes, side_by_side

FRAMES = np.full((2, 120, 160, 3), 128, np.uint8)
TOP = [('juggling', 0.9), ('a class with a name far too long to be shown in so few pixels', 0.1)]


def changed(drawn, frames=FRAMES):
    """Rows and columns in which something was drawn."""
    different = (drawn != frames).any((0, 3))
    return np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))


def test_classes_are_drawn_at_the_bottom_of_copies():
    drawn = draw_top_classes(FRAMES, TOP)
    assert drawn.shape == FRAMES.shape
    assert (FRAMES == 128).all()
    rows, _ = changed(drawn)
    assert rows.min() > 60
    assert rows.max() >= 118
    assert (drawn[0] == drawn[1]).all()


def test_a_bar_is_as_long_as_its_score():
    orange = [246, 173, 85]
    lengths = []
    for score in (0.1, 0.5, 1.0):
        near = np.abs(draw_top_classes(FRAMES, [('a', score)])[0].astype(int) - orange).sum(2) < 12
        lengths.append(near.sum(1).max())
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] == pytest.approx(2 * lengths[1], abs=2)


@pytest.mark.parametrize('where', ['top', 'bottom'])
def test_a_line_of_text_keeps_to_its_corner(where):
    rows, columns = changed(draw_text(FRAMES, 'a line', where))
    assert (rows.max() < 60) == (where == 'top')
    assert columns.min() == 0
    assert columns.max() < 100
    _, all_columns = changed(draw_text(FRAMES, 'a line' * 40, where))
    assert all_columns.max() <= 159


def test_larger_scale_and_small_frames():
    large, small = (len(changed(draw_text(FRAMES, 'x', font_scale=s))[0]) for s in (2.0, 1.0))
    assert large > small
    tiny = np.zeros((1, 8, 8, 3), np.uint8)
    assert draw_top_classes(tiny, TOP).shape == draw_text(tiny, 'x').shape == tiny.shape


@pytest.mark.parametrize('draw', [lambda **k: draw_text(FRAMES, 'x', **k),
                                  lambda **k: draw_top_classes(FRAMES, TOP, **k)])  # fmt: skip
def test_unknown_color_and_scale_are_errors(draw):
    with pytest.raises(ValueError, match='must be positive'):
        draw(font_scale=0)
    with pytest.raises(ValueError, match='mud'):
        draw(font_color='mud')


def test_clips_side_by_side():
    other = np.zeros_like(FRAMES)
    page = side_by_side([('one', FRAMES), ('two', other)])
    caption = page.shape[1] - 120
    assert page.shape[0] == 2
    assert page.shape[2] > 320
    np.testing.assert_array_equal(page[:, caption:, :160], FRAMES)
    np.testing.assert_array_equal(page[:, caption:, -160:], other)
    assert (page[:, :caption] == 255).any()
    assert (page[:, :caption] < 100).any()
