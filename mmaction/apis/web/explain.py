"""All that the page shows of a clip: scores, saliency maps, tokens and the frames themselves.

Videos travel as sprites, images that hold all frames in rows, so that the page can play
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

from mmaction.apis.inference import predict, top_classes
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.visualization import GradCAM, attention_blocks, attention_saliency, enlarge
from mmaction.visualization.feature_maps import first_clip
from mmaction.visualization.grad_cam import overlay, scale_saliency
from mmaction.visualization.token_map import legend_lines, token_map, token_pixels

from .reading import UploadReader
from .uploads import Limits

__all__ = ['Explainer', 'sprite']

COLUMNS = 8


class Explainer:
    """Works out what the page shows of a video.

    Args:
        model: As `init_recognizer` returns it.
        names: Of the classes.
        colormap: Colormap of Matplotlib for saliency maps.
        limits: What reading a video may take.

    Attributes:
        reader: Reads the videos.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str] | None = None,
        colormap: str = 'turbo',
        limits: Limits | None = None,
    ) -> None:
        self.model, self.names, self.colormap = model, names, colormap
        self.reader = UploadReader(limits or Limits())

    def __call__(
        self, video: Path, folder: Path | None, progress: Callable[[float, str], None]
    ) -> dict[str, Any]:
        """Classify a video and write the images of its middle clip into a folder.

        Args:
            video: The file.
            folder: For the images; None for scores alone.
            progress: Called with what is done, 0 to 1, and what is being done.

        Raises:
            ValueError: It cannot be read.
        """
        progress(0.1, 'reading the frames')
        steps = pipeline_steps(self.model.cfg)
        clips, *views = self.reader.clips(
            video, [steps] if folder is None else [steps, _one(steps)]
        )
        progress(0.3, 'classifying')
        top = top_classes(predict(self.model, [clips])[0], self.names)
        result: dict[str, Any] = dict(
            top=[dict(name=self._name(name), score=score) for name, score in top],
            views=len(clips['inputs']),
        )
        if folder is None:
            return result
        view = views[0]
        meta = view['data_samples'].metainfo
        height, width = meta['original_shape']
        result['video'] = dict(width=width, height=height)
        frames = first_clip(view['inputs']).numpy()
        shown = enlarge(frames)
        save_image(sprite(shown), folder / 'clip.jpg')
        count, height, width = shown.shape[:3]
        result['clip'] = dict(
            frames=count,
            width=width,
            height=height,
            columns=min(COLUMNS, count),
            seen=f'{frames.shape[2]} x {frames.shape[1]}',
            numbers=meta['frame_inds'].tolist(),
            fps=float(meta.get('avg_fps') or 30.0),
        )
        progress(0.5, 'drawing saliency maps')
        try:
            result['maps'] = self._maps(view, shown, folder, progress)
        except ValueError as error:  # a backbone without a map over time and space
            result['maps'], result['no_maps'] = [], f'{error}.'
        progress(0.9, 'classifying each token')
        result['tokens'] = self._tokens(view['inputs'], folder)
        return result

    def _name(self, name: str) -> str:
        return name if self.names else f'class {name}'

    def _maps(
        self,
        view: dict[str, Any],
        shown: np.ndarray,
        folder: Path,
        progress: Callable[[float, str], None],
    ) -> list[dict[str, str]]:
        """Each saliency map as a sprite, and what it shows."""
        batch = dict(inputs=[view['inputs']], data_samples=[view['data_samples']])
        kinds: list[tuple[str, str, str | None, str]] = [
            (
                'grad-cam',
                'Grad-CAM',
                None,
                'Grad-CAM of {} for the top class. Late tokens mix the whole clip, so it can '
                'highlight any place.',
            )
        ]
        try:
            blocks = attention_blocks(self.model)
        except ValueError:
            blocks = {}
        else:
            early = 'backbone/blocks/0/-1'
            text = 'HiResCAM of {} for the top class.'
            kinds.append(('hires-cam', 'HiResCAM', early, text))
        for name, block in blocks.items():
            text = f'Attention by the {name} of {{}}, over all heads and tokens.'
            kinds.append(('attention', name.capitalize(), block, text))
        found = []
        for number, (method, title, layer, text) in enumerate(kinds):
            progress(0.5 + 0.4 * number / len(kinds), f'drawing: {title}')
            if method == 'attention':
                assert layer is not None
                saliency = attention_saliency(self.model, batch, layer)[0]
                where = layer
            else:
                cam = GradCAM(self.model, layer, method=method)
                saliency, where = cam.raw_saliency(batch)[0], cam.layer_name
            scaled = scale_saliency(saliency, shown.shape[:3])[0].cpu()
            colors = overlay(torch.zeros(*scaled.shape, 3), scaled, self.colormap, alpha=1.0)
            file = f'map-{number}.jpg'
            save_image(sprite((colors * 255).round().byte().numpy()), folder / file)
            found.append(dict(title=title, text=text.format(where), file=file))
        return found

    def _tokens(self, inputs: torch.Tensor, folder: Path) -> dict[str, Any] | None:
        """The top class of each token, a pixel each, and a legend."""
        if inputs.ndim == 4:  # frames of a 2-D model
            return None
        try:
            tokens = token_map(self.model, inputs[0])
        except ValueError:  # a head or backbone that has no tokens to ask
            return None
        pixels = token_pixels(tokens)
        save_image(pixels.reshape(-1, *pixels.shape[2:]), folder / 'tokens.png')
        return dict(
            steps=len(pixels),
            rows=pixels.shape[1],
            columns=pixels.shape[2],
            legend=[
                dict(color='#{:02x}{:02x}{:02x}'.format(*(round(255 * c) for c in color)), text=t)
                for color, t in legend_lines(tokens, self.names)
            ],
        )


def _one(steps: Sequence[dict[str, object]]) -> list[dict[str, Any]]:
    """The pipeline for the middle clip alone, which keeps what the page shows of it."""
    one = steps_for(steps, 'video', one_view=True)
    for step in one:
        if step['type'] == 'PackActionInputs':
            step['meta_keys'] = ('frame_inds', 'avg_fps', 'original_shape')
    return one


def sprite(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) as one image, in rows of at most `COLUMNS`."""
    count, height, width, channels = frames.shape
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = frames
    grid = padded.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    sheet: np.ndarray = grid.reshape(rows * height, columns * width, channels)
    return sheet


def save_image(image: np.ndarray, path: Path) -> None:
    """Write an image (H, W, 3 or 4), uint8."""
    from PIL import Image

    Image.fromarray(image).save(path, quality=88)
