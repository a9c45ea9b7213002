"""Predictions written into frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['draw_text', 'draw_top_classes', 'side_by_side']

_BAR, _BEST_BAR, _BOX = (99, 132, 173), (246, 173, 85), (14, 20, 30, 190)


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf'), size)


def draw_top_classes(
    frames: np.ndarray,
    top: Sequence[tuple[str, float]],
    font_scale: float = 1.0,
    font_color: str = 'white',
) -> np.ndarray:
    """Draw a panel of class names, bars and per cents into each frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        top: Names and scores from 0 to 1, the best first.
        font_scale: Size of the text; at 1 it follows the size of the frames.
        font_color: Name or `#rrggbb` code of the text's color.

    Returns:
        New frames; those given stay as they are.

    Raises:
        ValueError: The color is unknown, or the scale not positive.
    """
    if font_scale <= 0:
        raise ValueError(f'font_scale={font_scale} must be positive')
    height, width = frames.shape[1:3]
    panel = _panel(tuple(top), height, width, font_scale, font_color)
    return _lay(frames, panel, height - len(panel))


def draw_text(
    frames: np.ndarray,
    text: str,
    where: str = 'top',
    font_scale: float = 1.0,
    font_color: str = 'white',
) -> np.ndarray:
    """Write a line into the upper or lower left corner ('top', 'bottom') of copies of frames.

    Raises:
        ValueError: The color is unknown, or the scale not positive.
    """
    from PIL import Image, ImageColor, ImageDraw

    if font_scale <= 0:
        raise ValueError(f'font_scale={font_scale} must be positive')
    height, width = frames.shape[1:3]
    size = max(round(min(height * 0.045, width * 0.05) * font_scale), 6)
    font, margin = _font(size), round(size * 0.6)
    line = _shorten(text, font, max(width - 2 * margin, size))
    w = min(round(font.getlength(line)) + 2 * margin, width)
    image = Image.new('RGBA', (w, min(round(size * 1.5) + margin, height)), _BOX)
    draw = ImageDraw.Draw(image)
    place = (margin, image.height / 2)
    draw.text(place, line, fill=ImageColor.getrgb(font_color), font=font, anchor='lm')
    return _lay(frames, np.asarray(image), 0 if where == 'top' else height - image.height)


def _lay(frames: np.ndarray, panel: np.ndarray, top: int) -> np.ndarray:
    """Copies of frames with a panel (h, w, 4) at their left edge."""
    color, opacity = panel[..., :3].astype(np.float32), panel[..., 3:].astype(np.float32) / 255
    out: np.ndarray = frames.copy()
    h, w = panel.shape[:2]
    place = out[:, top : top + h, :w]
    place[:] = (place * (1 - opacity) + color * opacity + 0.5).astype(np.uint8)
    return out


def side_by_side(clips: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Put clips of one size beside each other, each below its name.

    Args:
        clips: Names and frames (T, H, W, 3) uint8 RGB.

    Returns:
        (T, H + caption, sum of widths and gaps, 3) uint8.
    """
    from PIL import Image, ImageDraw

    count, height, width = clips[0][1].shape[:3]
    size = max(min(round(height * 0.06), round(width * 0.08)), 8)
    font, line, gap = _font(size), round(size * 1.7), max(width // 60, 2)
    total = len(clips) * width + (len(clips) - 1) * gap
    page = Image.new('RGB', (total, height + line), 'white')
    draw = ImageDraw.Draw(page)
    for i, (name, _) in enumerate(clips):
        text = _shorten(name, font, width)
        middle = (i * (width + gap) + width / 2, line / 2)
        draw.text(middle, text, fill='black', font=font, anchor='mm')
    pages = np.repeat(np.asarray(page)[None], count, 0)
    for i, (_, frames) in enumerate(clips):
        left = i * (width + gap)
        pages[:, line:, left : left + width] = frames
    return pages


@lru_cache(maxsize=16)
def _panel(
    top: tuple[tuple[str, float], ...], height: int, width: int, scale: float, color: str
) -> np.ndarray:
    """The panel, (h, w, 4) RGBA, no larger than a frame."""
    from PIL import Image, ImageColor, ImageDraw

    text_color = ImageColor.getrgb(color)
    size = max(round(min(height * 0.045, width * 0.05) * scale), 6)
    font = _font(size)
    line, margin = round(size * 1.5), round(size * 0.6)
    rows = min(len(top), max((height - 2 * margin) // line, 1))
    score_width = round(font.getlength('100.0 %')) + margin
    bar_width = round(size * 4)
    room = width - 3 * margin - score_width - bar_width
    names = [_shorten(name, font, max(room, size)) for name, _ in top[:rows]]
    name_width = round(max(font.getlength(name) for name in names)) + margin
    w = min(name_width + bar_width + score_width + 2 * margin, width)
    image = Image.new('RGBA', (w, min(rows * line + 2 * margin, height)), _BOX)
    draw = ImageDraw.Draw(image)
    for i, (name, (_, score)) in enumerate(zip(names, top, strict=False)):
        y = margin + i * line
        draw.text((margin, y + line / 2), name, fill=text_color, font=font, anchor='lm')
        left = margin + name_width
        length = max(round(bar_width * min(max(score, 0), 1)), 1)
        bar = (left, y + line * 0.25, left + length, y + line * 0.75)
        draw.rectangle(bar, fill=_BEST_BAR if i == 0 else _BAR)
        right = left + bar_width + score_width
        text = f'{100 * score:.1f} %'
        draw.text((right, y + line / 2), text, fill=text_color, font=font, anchor='rm')
    return np.asarray(image)


def _shorten(name: str, font: Any, width: float) -> str:
    """The name, or its beginning with an ellipsis where it is too wide."""
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + '…') > width:
        name = name[:-1]
    return name.rstrip() + '…'
