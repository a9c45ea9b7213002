"""Where and when a recognizer finds the evidence for a class: Grad-CAM of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_maps import default_layer, find_layer, layers_with_maps, to_channels_first

__all__ = ['GradCAM', 'overlay', 'scale_saliency']

METHODS = ('grad-cam', 'grad-cam++', 'hires-cam')


class GradCAM:
    """Grad-CAM and its kin, of any layer that outputs a map over time and space.

    Channels are weighted for each time step of the map by itself, as in mmaction2, or for
    each position:

    - 'grad-cam' (arXiv:1610.02391): by the mean gradient of the class's logit over
      the positions of the step.
    - 'grad-cam++' (arXiv:1710.11063): by the sum of the positive gradients, each
      times g^2 / (2 g^2 + g^3 * sum of the channel's activations).
    - 'hires-cam' (arXiv:2011.08891): by the gradient at the position itself. In early
      blocks, where gradients of one step point many ways, only this one stays on the
      evidence (docs/visualization.md has figures).

    The positive part of the weighted sum of channels is the saliency.

    Args:
        model: A recognizer with a head, in evaluation mode.
        target_layer_name: Path of the layer, such as 'backbone/blocks/3/3' or
            'backbone/blocks/-1/-1'; the last block of the backbone if None.
        colormap: Color map of Matplotlib.
        method: 'grad-cam', 'grad-cam++' or 'hires-cam'.

    Raises:
        ValueError: The layer, the method or the color map does not exist.

    Source: arguments and call as in the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer_name: str | None = None,
        colormap: str = 'viridis',
        method: str = 'grad-cam',
    ) -> None:
        if method not in METHODS:
            raise ValueError(f'method={method!r} must be one of {METHODS}')
        check_colormap(colormap)
        self.model = model
        self.method = method
        self.colormap = colormap
        self.layer_name, self.layer = find_layer(model, target_layer_name or default_layer(model))

    def __call__(
        self,
        data: Mapping[str, Any],
        use_labels: bool = False,
        alpha: float = 0.5,
    ) -> tuple[Tensor, Tensor]:
        """Clips with their saliency laid over them.

        Args:
            data: Batch as a dataloader gives it: dict(inputs=list of uint8 tensors
                (views, C, T, H, W), or frames (T, C, H, W) for a `Recognizer2D`, whose crops
                count as views; data_samples=list of samples).
            use_labels: Explain the samples' `gt_label`, not the best class.
            alpha: Opacity of the saliency, 0 to 1.

        Returns:
            Blended frames (B, T, H, W, 3) from 0 to 1, and logits (B, K). B counts the
            views of all clips.
        """
        labels = None
        if use_labels:
            labels = [int(sample.gt_label) for sample in data['data_samples']]
        saliency, logits = self.saliency(data, labels)
        # all frames, (..., C, H, W)
        clips = [clip.transpose(1, 2) if clip.ndim == 5 else clip for clip in data['inputs']]
        frames = torch.cat([clip.flatten(0, -4) for clip in clips]).movedim(1, -1)
        frames = frames.view(*saliency.shape, 3).to(saliency.device)
        return overlay(frames.float() / 255, saliency, self.colormap, alpha), logits

    def saliency(
        self, data: Mapping[str, Any], labels: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The saliency of each clip at its own resolution.

        Args:
            data: As in `__call__`.
            labels: Class to explain of each view, or of each sample; the best one if None.

        Returns:
            Saliency (B, T, H, W), from 0 to 1 within each clip, and logits (B, K).

        Raises:
            ValueError: A label is none of the classes, or the layer outputs no map.
        """
        maps, logits, clip_shape = self.raw_saliency(data, labels)
        return scale_saliency(maps, clip_shape), logits

    def raw_saliency(
        self, data: Mapping[str, Any], labels: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
        """The saliency (B, t, h, w) as it is on the layer's grid, the logits, and (T, H, W)."""
        activation, gradient, logits, clip_shape = self._record(data, labels)
        weights = self._weights(activation, gradient)
        maps = F.relu((weights * activation).sum(1))
        return maps, logits, clip_shape

    def _record(
        self, data: Mapping[str, Any], labels: Sequence[int] | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, int, int]]:
        """Activations (B, C, t, h, w), their gradients, logits (B, K) and (T, H, W)."""
        recorded: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Any) -> Any:
            # A block of MViT gives its grid as well.
            more = output[1:] if isinstance(output, tuple) else None
            tokens = output if more is None else output[0]
            if not isinstance(tokens, Tensor):
                return output
            recorded.append(tokens)
            # What follows may write into its input, so it gets a copy.
            return tokens.clone() if more is None else (tokens.clone(), *more)

        with torch.enable_grad():
            preprocess: Any = self.model.data_preprocessor
            batch = preprocess(data, False)
            inputs = batch['inputs'].requires_grad_()
            handle = self.layer.register_forward_hook(keep)
            try:
                logits = self.model(inputs, batch['data_samples'], mode='tensor', stage='head')
            finally:
                handle.remove()
            # Of frames (N, M, C, H, W) a 2-D network has M of each video, those of all crops.
            clips, (height, width) = len(logits), inputs.shape[-2:]
            frames = inputs.numel() // (clips * inputs.shape[2] * height * width)
            clip_shape = (frames, height, width)
            if len(recorded) != 1 or len(self._map(recorded[0], clip_shape, clips)) != clips:
                shapes = [tuple(output.shape) for output in recorded] or 'nothing'
                raise ValueError(
                    f'layer {self.layer_name} gives {shapes} for {len(logits)} clips; Grad-CAM '
                    'takes a layer that runs once and outputs one map per clip'
                )
            if self._map(recorded[0], clip_shape, clips)[0, 0].numel() == 1:
                raise ValueError(self._one_cell(batch, clip_shape, clips))
            if labels is not None and len(labels) == len(inputs):
                labels = [label for label in labels for _ in range(clips // len(inputs))]
            chosen = logits.argmax(1) if labels is None else _checked(labels, logits)
            score = logits.gather(1, chosen[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, recorded[0])
        maps = (
            self._map(tokens.detach().float(), clip_shape, clips)
            for tokens in (recorded[0], gradient)
        )
        return next(maps), next(maps), logits.detach(), clip_shape

    def _map(self, tokens: Tensor, clip_shape: tuple[int, int, int], clips: int) -> Tensor:
        return to_channels_first(tokens, clip_shape, self.layer_name, self.model, clips)

    def _one_cell(self, batch: dict[str, Any], clip_shape: tuple[int, int, int], clips: int) -> str:
        """What to do where the layer has a single cell, whose saliency is the same everywhere."""

        def run() -> None:
            self.model(batch['inputs'], batch['data_samples'], mode='tensor', stage='head')

        frames, height, width = clip_shape
        earlier = layers_with_maps(self.model, run, clip_shape, clips)[-3:]
        advice = (
            f'take an earlier layer, such as {", ".join(earlier)}'
            if earlier
            else 'no layer of this network has one that is larger'
        )
        return (
            f'layer {self.layer_name} has a map of 1 x 1 x 1 for {frames} frames of '
            f'{width} x {height} pixels, so its saliency is the same everywhere: {advice}'
        )

    def _weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Weights of the channels at each time step, (B, C, t, 1, 1), or at each position."""
        space = (3, 4)
        if self.method == 'hires-cam':
            return gradient
        if self.method == 'grad-cam':
            return gradient.mean(space, keepdim=True)
        # In double precision: the cube of a small gradient leaves the range of float32.
        g, a = gradient.double(), activation.double()
        below = 2 * g**2 + g**3 * a.sum(space, keepdim=True)
        share = torch.where(below == 0, 0, g**2 / below.where(below != 0, torch.ones_like(below)))
        return (share * g.relu()).sum(space, keepdim=True).float()


def _checked(labels: Sequence[int], logits: Tensor) -> Tensor:
    """Labels as a tensor (B,)."""
    count, classes = logits.shape
    if len(labels) != count:
        raise ValueError(f'{len(labels)} labels for {count} clips (views count as clips)')
    wrong = [label for label in labels if not 0 <= label < classes]
    if wrong:
        raise ValueError(
            f'class {wrong[0]} is outside the {classes} classes of the model (0 to {classes - 1})'
        )
    return torch.tensor(labels, device=logits.device)


def scale_saliency(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Saliency (B, t, h, w) on another grid (T, H, W), and from 0 to 1 within each clip.

    Interpolation is trilinear. A clip without saliency stays 0.
    """
    saliency = F.interpolate(maps[:, None], size=size, mode='trilinear', align_corners=False)[:, 0]
    saliency = saliency - saliency.amin((1, 2, 3), keepdim=True)
    most = saliency.amax((1, 2, 3), keepdim=True)
    return saliency / most.where(most > 0, torch.ones_like(most))


def check_colormap(name: str) -> None:
    """Raise `ValueError` unless Matplotlib has this color map."""
    import matplotlib

    if name not in matplotlib.colormaps:
        raise ValueError(
            f'colormap {name!r} is none of Matplotlib; try viridis, magma, inferno, turbo or jet'
        )


def overlay(
    frames: Tensor, saliency: Tensor, colormap: str = 'viridis', alpha: float = 0.5
) -> Tensor:
    """Lay saliency over frames.

    Args:
        frames: (..., H, W, 3), from 0 to 1.
        saliency: (..., H, W), from 0 to 1.
        colormap: Color map of Matplotlib.
        alpha: Opacity of the saliency, 0 to 1.

    Returns:
        (..., H, W, 3), from 0 to 1.

    Raises:
        ValueError: `alpha` is outside 0 to 1, or the color map unknown.
    """
    import matplotlib

    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha={alpha} must be from 0 to 1')
    check_colormap(colormap)
    table = torch.tensor(matplotlib.colormaps[colormap](range(256))[:, :3], dtype=torch.float32)
    colors = table.to(saliency.device)[(saliency * 255).round().long()]
    return alpha * colors + (1 - alpha) * frames
