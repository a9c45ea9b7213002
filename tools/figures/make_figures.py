"""Draw the figures of the README from the quickstart's model and data.

    python tools/figures/make_figures.py CONFIG CHECKPOINT --data data/motion_digits

Writes `stratified_attention.png`, how the blocks of DualFormer look at a clip, and `saliency.gif`,
what a trained model looks at in three clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BLUE, ORANGE, GREEN, PURPLE, INK, SOFT = (
    '#2b6cb0', '#dd6b20', '#2f855a', '#7b4ab0', '#1a202c', '#5a6676'
)  # fmt: skip
# The same hues, light enough for lines on dark frames.
LIGHT = {BLUE: '#6fb1f5', GREEN: '#5fd39b', PURPLE: '#b795f0'}
PICTURES = ('stratified_attention.png', 'saliency.gif')
ROUND = 'round,pad=0,rounding_size={}'
SHEAR, SQUEEZE = 0.28, 0.62  # how a frame is tilted, so that a row of them reads as time


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config of a DualFormer of Motion Digits')
    add('checkpoint', help='its weights, such as work_dirs/quickstart/epoch_30.pth')
    add('--data', default='data/motion_digits', metavar='DIR', help='(%(default)s)')
    add('--out', default='figures', metavar='DIR', help='(%(default)s)')
    add('--only', choices=PICTURES, help='draw one of them (default: all)')
    add(
        '--clips',
        type=int,
        nargs='+',
        default=[1, 5, 14],
        help='clips of saliency.gif (%(default)s)',
    )
    add('--clip', type=int, default=5, help='clip of stratified_attention.png (%(default)s)')
    return parser.parse_args(arguments)


def read_clip(model: Any, data: str, number: int) -> dict[str, Any]:
    """The middle clip of a validation video as a batch of one."""
    from mmaction.apis.inference import load_clip
    from mmaction.apis.test_pipeline import pipeline_steps, steps_for

    path = Path(data, f'videos/val/{number:05d}.mp4')
    clip = load_clip(model, path, steps_for(pipeline_steps(model.cfg), 'video', one_view=True))
    return dict(inputs=[clip['inputs']], data_samples=[clip['data_samples']])


def frames_of(batch: dict[str, Any]) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    frames: np.ndarray = batch['inputs'][0][0].permute(1, 2, 3, 0).numpy()
    return frames


# ---------------------------------------------------------------- saliency.gif


def saliency_video(model: Any, batches: Sequence[dict[str, Any]], side: int = 168) -> np.ndarray:
    """Clips below each other, each beside its saliency: frames (T, H, W, 3) uint8."""
    import torch

    from mmaction.visualization import (
        GradCAM,
        attention_blocks,
        attention_saliency,
        overlay,
        resize_frames,
        side_by_side,
    )
    from mmaction.visualization.grad_cam import scale_saliency

    rows = []
    for batch in batches:
        small = frames_of(batch)
        frames = resize_frames(small, (-1, side))
        cam = GradCAM(model, 'backbone/blocks/0/-1', method='hires-cam')
        maps, logits, _ = cam.raw_saliency(batch)
        found = {'evidence (HiResCAM)': maps}
        for name, layer in attention_blocks(model).items():
            found[name] = attention_saliency(model, batch, layer)[0]
        names = model.dataset_meta['classes']
        films = [(names[int(logits[0].argmax())], frames)]
        for name, maps in found.items():
            saliency = scale_saliency(maps, frames.shape[:3])[0]
            mixed = overlay(torch.from_numpy(frames) / 255, saliency, 'turbo', 0.5)
            films.append((name, (mixed * 255).round().byte().numpy()))
        rows.append(side_by_side(films))
    return np.concatenate(rows, 1)


# ---------------------------------------------------------------- stratified_attention.png


class Film:
    """A row of tilted frames, drawn into axes whose unit is the height of a frame.

    Args:
        axis: Where it is drawn.
        frames: (T, H, W, 3).
        left: Where the row starts.
        bottom: Its lower edge.
        size: Height of a frame.
        step: From one frame to the next.
    """

    def __init__(
        self, axis: Any, frames: np.ndarray, left: float, bottom: float, size: float, step: float
    ) -> None:
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import Affine2D

        self.axis = axis
        self.places = [
            Affine2D.from_values(SQUEEZE * size, SHEAR * size, 0, size, left + i * step, bottom)
            + axis.transData
            for i in range(len(frames))
        ]
        for frame, place in zip(frames, self.places, strict=True):
            picture = axis.imshow(frame, extent=(0, 1, 0, 1), interpolation='nearest', zorder=2)
            picture.set_transform(place)
            picture.set_clip_path(Rectangle((0, 0), 1, 1, transform=place))

    def grid(self, rows: int, columns: int, color: str, width: float) -> None:
        """Draw a grid over every frame."""
        for place in self.places:
            for i in range(rows + 1):
                self.axis.plot([0, 1], [i / rows] * 2, color=color, lw=width, transform=place)
            for i in range(columns + 1):
                self.axis.plot([i / columns] * 2, [0, 1], color=color, lw=width, transform=place)

    def tint(
        self, frame: int, box: tuple[float, float, float, float], color: str, alpha: float
    ) -> None:
        """Color a part (left, top, width, height) of a frame, in shares of it."""
        from matplotlib.patches import Rectangle

        left, top, width, height = box
        for opacity, fill, line in ((alpha, True, 0.0), (1.0, False, 2.0)):
            self.axis.add_patch(
                Rectangle(
                    (left, 1 - top - height), width, height, facecolor=color, edgecolor=color,
                    alpha=opacity, fill=fill, lw=line, transform=self.places[frame], zorder=3,
                )
            )  # fmt: skip


def pooled(frames: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """The mean color of each cell of a grid (t, h, w) over a clip."""
    T, H, W = frames.shape[:3]
    t, h, w = grid
    cells = frames[: T // t * t, : H // h * h, : W // w * w].astype(float)
    cells = cells.reshape(t, T // t, h, H // h, w, W // w, 3)
    image: np.ndarray = cells.mean((1, 3, 5)).round().astype(np.uint8)
    return image


def draw_attention(model: Any, batch: dict[str, Any], path: Path) -> None:
    """Draw how the first stage's blocks look at a clip, and the stages below."""
    import torch
    from matplotlib.figure import Figure

    from mmaction.utils.io import save_figure

    frames = frames_of(batch)
    with torch.no_grad():
        (sample,) = model.test_step(batch)
    scores = sample.pred_score.numpy()
    geometry = model.backbone.geometry
    stage = geometry[0]
    if stage.fine is None or stage.coarse is None:
        raise ValueError('the first stage of this model has no pyramid of two levels to draw')
    figure = Figure(figsize=(12.5, 6.6))
    axis = figure.add_axes((0, 0, 1, 1))
    grid, window = stage.grid, stage.window
    steps = frames[:: len(frames) // grid[0]][: grid[0]]
    size, step = 1.35, 1.02
    query = (1, grid[1] // 2 + 1, grid[2] // 2 + 1)
    cell = (query[2] / grid[2], query[1] / grid[1], 1 / grid[2], 1 / grid[1])

    axis.text(0.15, 4.75, 'Even blocks: local windows', fontsize=14, weight='bold', color=INK)
    text = f'A token attends to the {np.prod(window)} tokens of its window over space and time.'
    axis.text(0.15, 4.5, text, fontsize=10, color=SOFT)
    film = Film(axis, steps, 0.2, 2.55, size, step)
    film.grid(grid[1], grid[2], 'white', 0.35)
    film.grid(grid[1] // window[1], grid[2] // window[2], LIGHT[BLUE], 1.4)
    start = [q // w * w for q, w in zip(query, window, strict=True)]
    area = (start[2] / grid[2], start[1] / grid[1], window[2] / grid[2], window[1] / grid[1])
    for i in range(start[0], min(start[0] + window[0], grid[0])):
        film.tint(i, area, LIGHT[BLUE], 0.4)
    film.tint(query[0], cell, ORANGE, 1.0)
    axis.text(0.2, 2.25, f'{grid[0]} x {grid[1]} x {grid[2]} tokens, windows of '
              f'{" x ".join(map(str, window))}', fontsize=9.5, color=SOFT)  # fmt: skip

    fine = [-(-n // k) for n, k in zip(grid, stage.fine, strict=True)]
    kernel = [a * b for a, b in zip(*stage.coarse, strict=True)]
    coarse = [-(-n // k) for n, k in zip(grid, kernel, strict=True)]
    left = 4.95
    axis.text(left, 4.75, 'Odd blocks: global pyramid', fontsize=14, weight='bold', color=INK)
    axis.text(left, 4.5, f'A token attends to the whole clip, pooled to {np.prod(fine)} fine and '
              f'{np.prod(coarse)} coarse tokens.', fontsize=10, color=SOFT)  # fmt: skip
    film = Film(axis, steps[1:2], left + 0.05, 2.55, size, step)
    film.grid(grid[1], grid[2], 'white', 0.35)
    film.tint(0, cell, ORANGE, 1.0)
    right, middle = cell[0] + cell[2], cell[1] + cell[3] / 2
    asks = (left + 0.05 + size * SQUEEZE * right, 2.55 + size * (SHEAR * right + 1 - middle))
    for bottom, height, level, color, text in (
        (3.22, 0.88, fine, GREEN, 'fine'), (2.3, 0.6, coarse, PURPLE, 'coarse'),
    ):  # fmt: skip
        first = left + 1.85
        film = Film(axis, pooled(frames, level), first, bottom, height, 0.86 * height)
        film.grid(level[1], level[2], LIGHT[color], 1.2)
        axis.annotate(
            '', (first - 0.06, bottom + height * 0.55), asks,
            arrowprops=dict(arrowstyle='-|>', color=ORANGE, lw=1.6, shrinkA=2, shrinkB=2),
        )  # fmt: skip
        axis.text(first + level[0] * 0.86 * height + 0.02, bottom + 0.62 * height,
                  f'{text} level\n{" x ".join(map(str, level))}', fontsize=10, color=color,
                  va='center')  # fmt: skip

    _draw_stages(axis, model, frames, scores, model.dataset_meta['classes'])
    axis.set(xlim=(0, 9.35), ylim=(0, 5.05), aspect='equal')
    axis.axis('off')
    save_figure(figure, path, dpi=120, facecolor='white')


def _draw_stages(
    axis: Any, model: Any, frames: np.ndarray, scores: np.ndarray, names: Sequence[str]
) -> None:
    """The stages of the network as a row of boxes."""
    from matplotlib.patches import FancyBboxPatch

    blocks = model.backbone.blocks
    texts: list[tuple[str, str, list[str]]] = [('clip', ' x '.join(map(str, frames.shape[:3])), [])]
    for i, (geometry, stage) in enumerate(zip(model.backbone.geometry, blocks, strict=True)):
        kinds = ['LW' if j % 2 == 0 else 'GP' for j in range(len(stage))]
        size = ' x '.join(map(str, geometry.grid))
        texts.append((f'stage {i + 1}', f'{size}, {stage[0].mlp.fc1.in_features} channels', kinds))
    texts.append(('classifier', f'mean of tokens, {model.cls_head.num_classes} classes', []))
    gap, top = 0.3, 1.62
    width = (9.05 - gap * (len(texts) - 1)) / len(texts)
    axis.plot([0.15, 9.2], [1.97] * 2, color='#dde3ea', lw=1)
    for i, (name, size, kinds) in enumerate(texts):
        left = 0.15 + i * (width + gap)
        axis.add_patch(
            FancyBboxPatch((left, 0.35), width, top - 0.35, boxstyle=ROUND.format(0.1),
                           facecolor='#f3f5f8', edgecolor='#c5cfda')
        )  # fmt: skip
        axis.text(left + width / 2, top - 0.25, name, ha='center', fontsize=12, weight='bold',
                  color=INK)  # fmt: skip
        axis.text(left + width / 2, top - 0.5, size, ha='center', fontsize=9.5, color=SOFT)
        shown = kinds if len(kinds) <= 6 else [*kinds[:2], '…', *kinds[-2:]]
        room = (width - 0.2) / max(len(shown), 1)
        for j, kind in enumerate(shown):
            box = min(room - 0.08, 0.62)
            middle = left + width / 2 + (j - (len(shown) - 1) / 2) * (box + 0.08)
            if kind == '…':
                axis.text(middle, 0.71, kind, ha='center', va='center', fontsize=12)
                continue
            color = BLUE if kind == 'LW' else GREEN
            axis.add_patch(
                FancyBboxPatch((middle - box / 2, 0.5), box, 0.42, boxstyle=ROUND.format(0.06),
                               facecolor=color, edgecolor='none')
            )  # fmt: skip
            axis.text(middle, 0.71, kind, ha='center', va='center', color='white', fontsize=11,
                      weight='bold')  # fmt: skip
        if i:
            axis.annotate('', (left - 0.02, 1.0), (left - gap + 0.02, 1.0),
                          arrowprops=dict(arrowstyle='-|>', color=SOFT, lw=1.6, shrinkA=0,
                                          shrinkB=0))  # fmt: skip
    _draw_ends(axis, frames, scores, names, width)
    text = (
        'LW: attention within local windows.  GP: attention to the global pyramid.  Each stage '
        'starts with a patch embedding; after its first block comes a position generator.'
    )
    axis.text(0.15, 0.1, text, fontsize=9, color=SOFT)


def _draw_ends(
    axis: Any, frames: np.ndarray, scores: np.ndarray, names: Sequence[str], width: float
) -> None:
    """The clip in the first box, and what the model says of it in the last."""
    from matplotlib.patches import Rectangle

    chosen = frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)]
    Film(axis, chosen, 0.15 + width / 2 - 0.78, 0.42, 0.5, 0.42)
    left = 9.2 - width + 0.12
    for i, label in enumerate(scores.argsort()[::-1][:3]):
        y = 0.9 - 0.2 * i
        axis.text(left, y, names[label], fontsize=7.5, color=INK if i == 0 else SOFT, va='center')
        length = max(0.5 * float(scores[label]), 0.01)
        color = ORANGE if i == 0 else BLUE
        bar = Rectangle((left + width - 0.76, y - 0.05), length, 0.1, facecolor=color, zorder=3)
        axis.add_patch(bar)


def main(arguments: list[str] | None = None) -> None:
    """Parse, draw."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint')

    with user_errors(setup=True):
        from mmaction.apis import init_recognizer
        from mmaction.visualization import ClipWriter

        model: Any = init_recognizer(args.config, args.checkpoint, 'cpu')
        classes = Path(args.data, 'classes.txt')
        if not classes.is_file():
            raise FileNotFoundError(f'there is no {classes}: --data is the folder of Motion Digits')
        model.dataset_meta['classes'] = classes.read_text(encoding='utf-8').splitlines()
        for name in (args.only,) if args.only else PICTURES:
            path = Path(args.out, name)
            if name == 'saliency.gif':
                batches = [read_clip(model, args.data, number) for number in args.clips]
                with ClipWriter(path, 4, smooth=True) as writer:
                    writer.write(saliency_video(model, batches))
            else:
                draw_attention(model, read_clip(model, args.data, args.clip), path)
            print(f'written: {path} ({path.stat().st_size / 1e6:.2f} MB)')


if __name__ == '__main__':
    main(sys.argv[1:])
