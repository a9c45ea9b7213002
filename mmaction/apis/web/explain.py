"""All that the page shows of a clip: scores, heat, tokens and the frames themselves.

Films travel as sprites, pictures that hold all frames in rows, so that the page can play
several of them in step without any codec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmaction.datasets.video_source import clip_info, pipeline_steps, steps_for

from ..inference import load_clip, predict, top_classes

__all__ = ['Explainer', 'sprite']

COLUMNS = 8


class Explainer:
    """Works out what the page shows of a video.

    Args:
        model: As `init_recognizer` returns it.
        names: Of the classes.
        colormap: Color map of Matplotlib for heat.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str] | None = None, colormap: str = 'turbo'
    ) -> None:
        self.model, self.names, self.colormap = model, names, colormap

    def __call__(
        self, video: Path, folder: Path, progress: Callable[[float, str], None]
    ) -> dict[str, Any]:
        """Classify a video and write the pictures of its middle clip into a folder.

        Raises:
            ValueError: It cannot be read.
        """
        from mmaction.visualization import enlarge

        progress(0.1, 'reading the frames')
        steps = pipeline_steps(self.model.cfg)
        clips = load_clip(self.model, video, steps)
        progress(0.3, 'classifying')
        top = top_classes(predict(self.model, [clips])[0], self.names)
        result: dict[str, Any] = dict(
            top=[dict(name=self._name(name), score=score) for name, score in top],
            views=len(clips['inputs']),
        )
        view, numbers, fps = self._view(video, steps)
        frames = view['inputs'][0].permute(1, 2, 3, 0).numpy()
        shown = enlarge(frames)
        save_picture(sprite(shown), folder / 'clip.jpg')
        count, height, width = shown.shape[:3]
        result['clip'] = dict(
            frames=count,
            width=width,
            height=height,
            columns=min(COLUMNS, count),
            seen=f'{frames.shape[2]} x {frames.shape[1]}',
            numbers=numbers,
            fps=fps,
        )
        progress(0.5, 'looking for the evidence')
        try:
            result['maps'] = self._maps(view, shown, folder, progress)
        except ValueError as error:  # a backbone without a map over time and space
            result['maps'], result['no_maps'] = [], f'{error}.'
        progress(0.9, 'asking each token')
        result['tokens'] = self._tokens(view['inputs'][0], folder)
        return result

    def _name(self, name: str) -> str:
        return name if self.names else f'class {name}'

    def _view(
        self, video: Path, steps: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Any], list[int], float]:
        """The middle clip, the numbers of its frames in the video, and frames per second."""
        kind, _ = clip_info(video)
        one = steps_for(steps, kind, one_view=True)
        keys = ('frame_inds', 'avg_fps')
        for step in one:
            if step['type'] == 'PackActionInputs':
                step['meta_keys'] = keys
        clip = load_clip(self.model, video, one)
        found = [clip['data_samples'].metainfo.get(key) for key in keys]
        numbers = [] if found[0] is None else np.asarray(found[0]).tolist()
        return clip, numbers, float(found[1] or 30.0)

    def _maps(
        self,
        view: dict[str, Any],
        shown: np.ndarray,
        folder: Path,
        progress: Callable[[float, str], None],
    ) -> list[dict[str, str]]:
        """Heat of each kind as a sprite, and what it shows."""
        from mmaction.visualization import GradCAM, attention_blocks, attention_heat
        from mmaction.visualization.grad_cam import overlay, scale_heat

        batch = dict(inputs=[view['inputs']], data_samples=[view['data_samples']])
        kinds: list[tuple[str, str, str | None, str]] = [
            (
                'grad-cam',
                'Grad-CAM',
                None,
                'What speaks for the best class, by Grad-CAM of {}. Late tokens have seen much of '
                'the clip, so the evidence can lie anywhere.',
            )
        ]
        try:
            blocks = attention_blocks(self.model)
        except ValueError:
            blocks = {}
        else:
            early = 'backbone/blocks/0/-1'
            text = 'What speaks for the best class, place by place, by HiResCAM of {}.'
            kinds.append(('hires-cam', 'HiResCAM', early, text))
        for name, block in blocks.items():
            text = f'Where tokens look by the {name} of {{}}, all heads and tokens together.'
            kinds.append(('attention', name.capitalize(), block, text))
        found = []
        for number, (method, title, layer, text) in enumerate(kinds):
            progress(0.5 + 0.4 * number / len(kinds), f'drawing: {title}')
            if method == 'attention':
                assert layer is not None
                heat = attention_heat(self.model, batch, layer)[0]
                where = layer
            else:
                cam = GradCAM(self.model, layer, method=method)
                heat, where = cam.raw_heat(batch)[0], cam.layer_name
            scaled = scale_heat(heat, shown.shape[:3])[0].cpu()
            colors = overlay(torch.zeros(*scaled.shape, 3), scaled, self.colormap, alpha=1.0)
            file = f'heat-{number}.jpg'
            save_picture(sprite((colors * 255).round().byte().numpy()), folder / file)
            found.append(dict(title=title, text=text.format(where), file=file))
        return found

    def _tokens(self, clip: torch.Tensor, folder: Path) -> dict[str, Any] | None:
        """The best class of each token, a pixel each, and a legend."""
        from mmaction.visualization.token_map import legend_lines, token_map, token_pixels

        try:
            tokens = token_map(self.model, clip)
        except ValueError:  # a head or backbone that has no tokens to ask
            return None
        pixels = token_pixels(tokens)
        save_picture(pixels.reshape(-1, *pixels.shape[2:]), folder / 'tokens.png')
        return dict(
            steps=len(pixels),
            rows=pixels.shape[1],
            columns=pixels.shape[2],
            legend=[
                dict(color='#{:02x}{:02x}{:02x}'.format(*(round(255 * c) for c in color)), text=t)
                for color, t in legend_lines(tokens, self.names)
            ],
        )


def sprite(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) as one picture, in rows of at most `COLUMNS`."""
    count, height, width, channels = frames.shape
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = frames
    grid = padded.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write a picture (H, W, 3 or 4), uint8."""
    from PIL import Image

    Image.fromarray(picture).save(path, quality=88)
