"""What a recognizer says of each token of a clip: its class there, drawn as maps.

Shapes: T frames of a clip, (t, h, w) its grid of tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmaction.utils.io import save_figure

from .text import _font

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    'TokenMap',
    'draw_token_map',
    'legend_lines',
    'overlay_token_map',
    'percent',
    'token_map',
    'token_pixels',
]

# Hues that stay apart where they are pale.
PALETTE = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#c62828', '#7b4ab0', '#7a5230', '#f0e442')
OTHER = '#b8b8b8'
LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # weights of R, G and B (ITU-R BT.601)
_FAINTEST = 0.3  # strength of a color where the model is not sure at all


@dataclass(frozen=True)
class TokenMap:
    """The best class of each token.

    Attributes:
        classes: Class of each token (t, h, w).
        scores: Its probability there (t, h, w).
        clip_scores: Probabilities of the whole clip (K,).
    """

    classes: np.ndarray
    scores: np.ndarray
    clip_scores: np.ndarray

    def shares(self) -> list[tuple[int, float]]:
        """Classes and the shares of the tokens that they have, the largest first."""
        classes, counts = np.unique(self.classes, return_counts=True)
        order = np.argsort(-counts, kind='stable')
        return [(int(classes[i]), float(counts[i] / self.classes.size)) for i in order]

    def colors(self) -> dict[int, tuple[float, float, float]]:
        """A color, 0 to 1, of each class that a token has.

        With few classes each has its own, the same in every figure; with more, the
        largest here have one and the others are gray.
        """
        from matplotlib.colors import to_rgb

        found = [label for label, _ in self.shares()]
        if len(self.clip_scores) <= len(PALETTE):
            return {label: to_rgb(PALETTE[label]) for label in found}
        hues = [*PALETTE, *[OTHER] * len(found)]
        return {label: to_rgb(hue) for label, hue in zip(found, hues, strict=False)}

    def step_of(self, frame: int | np.ndarray, frames: int) -> Any:
        """The step in t of a frame of T."""
        return frame * len(self.classes) // frames


@torch.no_grad()
def token_map(model: torch.nn.Module, clip: torch.Tensor) -> TokenMap:
    """Apply the classifier of a recognizer to each token of its last feature map.

    Args:
        model: A recognizer in eval mode whose head has `fc_cls` (`I3DHead` and its kin).
        clip: One view (C, T, H, W), uint8, as the pipeline packs it.

    Raises:
        ValueError: The head has no `fc_cls`, or the backbone gives no map.
    """
    head: Any = getattr(model, 'cls_head', None)
    if not isinstance(getattr(head, 'fc_cls', None), torch.nn.Linear):
        raise ValueError(
            f'token maps need a head with a linear fc_cls, such as I3DHead; this model has '
            f'{type(head).__name__}'
        )
    preprocessor: Any = model.data_preprocessor
    inputs = preprocessor(dict(inputs=[clip[None]], data_samples=None))['inputs']
    features = model(inputs, mode='tensor', stage='neck')
    if not isinstance(features, torch.Tensor) or features.ndim != 5:
        raise ValueError('token maps need a backbone that gives one map (N, C, T, H, W)')
    scores, classes = head.fc_cls(features.movedim(1, -1)[0]).float().softmax(-1).max(-1)
    whole = head(features)[0].float().softmax(-1)
    return TokenMap(classes.cpu().numpy(), scores.cpu().numpy(), whole.cpu().numpy())


def draw_token_map(
    frames: np.ndarray,
    tokens: TokenMap,
    path: str | Path,
    columns: int = 5,
    names: Sequence[str] | None = None,
    title: str = '',
) -> None:
    """Draw frames above the maps of their best classes, and a legend.

    A cell holds the number of its class and has the class's color, the paler the
    less sure the model is. The legend gives the shares over the whole clip.

    Args:
        frames: The clip that the model saw (T, H, W, 3) uint8.
        tokens: Its map.
        path: Picture file; folders above it are made.
        columns: How many frames, drawn evenly from the clip.
        names: Name of each class.
        title: Headline.

    Raises:
        ValueError: `columns` is not positive.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if columns < 1:
        raise ValueError(f'{columns} frames: there must be at least one')
    count = len(frames)
    chosen = np.linspace(0, count - 1, min(columns, count)).round().astype(int)
    side = 1.9
    aspect = frames.shape[1] / frames.shape[2]
    width = len(chosen) * side + 3.2
    height = max(2 * side * aspect + (0.7 if title else 0.35), 2.4)
    figure = Figure(figsize=(width, height), layout='constrained')
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(2, len(chosen), squeeze=False)
    colors = tokens.colors()
    for column, frame in enumerate(chosen):
        above, below = axes[0, column], axes[1, column]
        above.imshow(frames[frame], interpolation='bilinear')
        above.set_title(f'frame {frame + 1} of {count}', fontsize=9, pad=4)
        _draw_grid(below, tokens, int(tokens.step_of(frame, count)), colors, side, aspect)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    lines = legend_lines(tokens, names)
    figure.legend(
        [Patch(color=color) for color, _ in lines],
        [text for _, text in lines],
        loc='outside right center',
        title='tokens by best class\n(paler: less sure)',
        fontsize=9,
        title_fontsize=9,
        frameon=False,
        alignment='left',
    )
    if title:
        figure.suptitle(title, fontsize=11, weight='bold', x=0.01, ha='left')
    save_figure(figure, path, dpi=150)


def _draw_grid(
    axis: Axes,
    tokens: TokenMap,
    step: int,
    colors: dict[int, tuple[float, float, float]],
    side: float,
    aspect: float,
) -> None:
    """One step of the map as colored cells with class numbers."""
    classes, scores = tokens.classes[step], tokens.scores[step]
    rows, columns = classes.shape
    hues = np.array([[colors[label] for label in row] for row in classes.tolist()])
    strength = _strength(scores)[..., None]
    shades = 1 - strength + strength * hues
    axis.imshow(shades, extent=(0, columns, rows, 0), aspect=aspect * columns / rows)
    axis.hlines(np.arange(1, rows), 0, columns, color='white', linewidth=0.8)
    axis.vlines(np.arange(1, columns), 0, rows, color='white', linewidth=0.8)
    size = min(side / columns, side * aspect / rows) * 72 * 0.45
    if size < 4:  # too small to read
        return
    for row in range(rows):
        for column in range(columns):
            light = shades[row, column] @ LUMA > 0.48
            axis.text(
                column + 0.5,
                row + 0.52,
                str(classes[row, column]),
                ha='center',
                va='center',
                fontsize=min(size, 12),
                color='black' if light else 'white',
            )


def _strength(scores: np.ndarray) -> np.ndarray:
    """How strong a color is for a probability: never so weak that it cannot be seen."""
    return _FAINTEST + (1 - _FAINTEST) * scores


def legend_lines(tokens: TokenMap, names: Sequence[str] | None) -> list[tuple[Any, str]]:
    """Color and text of each class that has a color; the others in one line."""
    shares, colors = tokens.shares(), tokens.colors()
    shown, others = shares[: len(PALETTE)], shares[len(PALETTE) :]
    lines = [(colors[label], f'{_name(label, names)}  {percent(part)}') for label, part in shown]
    if others:
        rest = sum(share for _, share in others)
        lines.append((colors[others[0][0]], f'{len(others)} others  {percent(rest)}'))
    return lines


def _name(label: int, names: Sequence[str] | None) -> str:
    return f'{label} {names[label]}' if names else f'class {label}'


def percent(part: float) -> str:
    """A share, 0 to 1, in words: '37%', and '<1%' for what is little but not nothing."""
    return '<1%' if 0 < part < 0.005 else f'{part:.0%}'


def overlay_token_map(
    frames: np.ndarray,
    tokens: TokenMap,
    names: Sequence[str] | None = None,
    alpha: float = 0.5,
    height: int = 320,
) -> np.ndarray:
    """Lay the map over its frames, which turn gray, with a legend below.

    A token has the color of its class, the fainter the less sure the model is.

    Args:
        frames: The clip that the model saw (T, H, W, 3) uint8.
        tokens: Its map.
        names: Name of each class.
        alpha: Opacity of the colors, 0 to 1, where the model is sure.
        height: Height of the frames in the result, where they are smaller.

    Returns:
        (T, H', W', 3) uint8.

    Raises:
        ValueError: `alpha` is outside 0 to 1.
    """
    from PIL import Image

    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha={alpha} must lie in 0 to 1')
    h = max(height, frames.shape[1])
    w = round(frames.shape[2] * h / frames.shape[1])
    cells = token_pixels(tokens)
    legend = _legend_strip(legend_lines(tokens, names), w)
    pages = []
    for number, frame in enumerate(frames):
        step = tokens.step_of(number, len(frames))
        grid = Image.fromarray(cells[step], 'RGBA')
        layer = np.asarray(grid.resize((w, h), Image.Resampling.NEAREST), np.float32)
        enlarged = np.asarray(
            Image.fromarray(frame).resize((w, h), Image.Resampling.BICUBIC), np.float32
        )
        # Only the map speaks in colors, or those of the frame would be taken for classes.
        gray = (enlarged @ LUMA)[..., None].repeat(3, 2)
        opacity = alpha * layer[..., 3:] / 255
        mixed = gray * (1 - opacity) + layer[..., :3] * opacity
        pages.append(np.concatenate([mixed.round().astype(np.uint8), legend]))
    return np.stack(pages)


def token_pixels(tokens: TokenMap) -> np.ndarray:
    """A pixel of each token in its class's color, more opaque the surer the model is.

    Returns:
        (t, h, w, 4) uint8 RGBA.
    """
    colors = tokens.colors()
    table = np.array([colors.get(label, (0, 0, 0)) for label in range(len(tokens.clip_scores))])
    hues = table[tokens.classes]
    pixels = np.concatenate([hues, _strength(tokens.scores)[..., None]], -1) * 255
    image: np.ndarray = pixels.round().astype(np.uint8)
    return image


def _legend_strip(lines: list[tuple[Any, str]], width: int) -> np.ndarray:
    """The lines of the legend, one below the other, (h, width, 3) uint8."""
    from PIL import Image, ImageDraw

    line = max(width // 16, 14)
    font = _font(round(line * 0.68))
    image = Image.new('RGB', (width, line * len(lines) + line // 2), 'white')
    draw = ImageDraw.Draw(image)
    for row, (color, text) in enumerate(lines):
        top = line * row + line // 4
        fill = tuple(round(255 * part) for part in color)
        draw.rectangle((line // 3, top + 2, line * 4 // 3, top + line - 3), fill=fill)
        draw.text((line * 5 // 3, top + line / 2), text, fill='black', font=font, anchor='lm')
    return np.asarray(image)
