"""Finding a layer by its path, and reading what it outputs as a map over time and space."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmaction.utils.suggest import did_you_mean

__all__ = [
    'default_layer',
    'find_layer',
    'first_clip',
    'layers_with_maps',
    'to_channels_first',
]


def find_layer(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    """The layer of a path such as 'backbone/blocks/3/3' or 'backbone/blocks/-1/-1'.

    A negative number counts from the end of a list. A list itself, such as the
    stage 'backbone/blocks/3', stands for its last layer. A block past the end of a stage
    is its last block, which is logged: command lines for one size of a model then work
    for the others.

    Args:
        model: The recognizer.
        name: Names of modules from the model down, joined by '/' or '.', with or without
            'model' or 'module' before them.

    Returns:
        The path of the layer that was found, and the layer.

    Raises:
        ValueError: There is no such layer; the message lists the nearest and those there are.
    """
    module = model
    found: list[str] = []
    parts = name.replace('.', '/').strip('/').split('/')
    while len(parts) > 1 and parts[0] in ('model', 'module') and not hasattr(model, parts[0]):
        del parts[0]
    for part in parts:
        children = dict(module.named_children())
        key = part
        if part.startswith('-') and part[1:].isdigit() and _is_list(module):
            position = len(children) - int(part[1:])
            key = str(position) if position >= 0 else part
        elif part.isdigit() and int(part) >= len(children) and _is_stage(model, found):
            key = str(len(children) - 1)
            stage = '/'.join(found)
            print_log(
                f'{stage} has {len(children)} blocks, so {name} means its last: {stage}/{key}',
                'current',
                logging.WARNING,
            )
        if key not in children:
            raise ValueError(_no_layer(model, name, part, found))
        module = children[key]
        found.append(key)
    while isinstance(module, nn.ModuleList) and len(module):
        found.append(str(len(module) - 1))
        module = module[-1]
    return '/'.join(found), module


def _is_list(module: object) -> TypeGuard[nn.ModuleList | nn.Sequential]:
    return isinstance(module, (nn.ModuleList, nn.Sequential))


def _is_stage(model: nn.Module, path: Sequence[str]) -> bool:
    """Whether a path is a list of blocks: 'backbone/blocks/3', 'backbone/layer4', 'blocks'.

    Its members are no stages themselves, and it is a member of a list of stages or is
    called blocks or layers.
    """
    module = model.get_submodule('.'.join(path))
    if not path or not _is_list(module) or not len(module):
        return False
    nested = _is_list(model.get_submodule('.'.join(path[:-1])))
    if not nested and not re.fullmatch(r'(?:blocks|layers?|stages?)_?\d*', path[-1]):
        return False
    return not any(
        _is_list(child) or _is_list(getattr(child, 'blocks', None)) for child in module.children()
    )


def _no_layer(model: nn.Module, name: str, part: str, path: Sequence[str]) -> str:
    """What to say of a name of which the model has `path`, but no `part` within it."""
    parent = '/'.join(path)
    where = parent or 'the model'
    children = [child for child, _ in model.get_submodule('.'.join(path)).named_children()]
    if not children:
        return f'there is no layer {name!r}: {where} has no layers within it'
    there = ', '.join('/'.join((*path, child)) for child in children)
    known = [path.replace('.', '/') for path, _ in model.named_modules() if path]
    hint = did_you_mean(name.replace('.', '/').strip('/'), known, count=3)
    return f'there is no layer {name!r}: {where} has no {part!r}{hint} (there are: {there})'


def first_clip(inputs: Tensor) -> Tensor:
    """Frames (T, H, W, C) of the first view (views, C, T, H, W), or of frames (T, C, H, W)."""
    return (inputs if inputs.ndim == 4 else inputs[0].transpose(0, 1)).movedim(1, -1)


def default_layer(model: nn.Module) -> str:
    """The `cam_layer` that a backbone names, else its last block, else the backbone."""
    named = getattr(model.backbone, 'cam_layer', None)
    if named is not None:
        return f'backbone/{named}'
    return 'backbone/blocks/-1/-1' if hasattr(model.backbone, 'blocks') else 'backbone'


def to_channels_first(
    tokens: Tensor,
    clip_shape: tuple[int, int, int],
    name: str,
    model: nn.Module | None = None,
    clips: int | None = None,
) -> Tensor:
    """Bring the output of a layer to (B, C, t, h, w), as a view.

    Layers of transformers give (B, t, h, w, C), convolutions (B, C, t, h, w), those of 2-D
    networks the same of each frame, (B*t, h, w, C) or (B*t, C, h, w). Which of the two a map
    is, its own shape tells: its grid is the clip's, reduced by one factor along height and
    width.

    Args:
        tokens: Output of the layer.
        clip_shape: (T, H, W) of the clips that the model was given.
        name: The layer, for messages.
        model: The recognizer, whose backbone may have a `token_map` that knows which of
            its rows of tokens are places.
        clips: B, which maps of single frames do not tell.

    Raises:
        ValueError: It is no map over time and space.
    """
    shape = tuple(tokens.shape)
    token_map = getattr(getattr(model, 'backbone', None), 'token_map', None)
    if tokens.ndim == 3 and token_map is not None:
        maps: Tensor = token_map(tokens, clip_shape)
        return maps
    misfits = {}
    channels = 1
    if tokens.ndim == 4 and clips and not len(tokens) % clips:
        tokens, channels = tokens.unflatten(0, (clips, -1)), 2  # (B, t, C, h, w)
    if tokens.ndim == 5:
        sizes = tuple(tokens.shape[1:])
        grids = {axis: sizes[: axis - 1] + sizes[axis:] for axis in (channels, 4)}
        misfits = {
            axis: _misfit(grid, clip_shape)
            for axis, grid in grids.items()
            if all(n <= size for n, size in zip(grid, clip_shape, strict=True))
        }
    if not misfits:
        raise ValueError(
            f'layer {name} gives a tensor of shape {shape}, which is no map over the time, height '
            f'and width of clips of {clip_shape}; choose a block, a stage, an attention or a norm '
            'of tokens'
        )
    return tokens.movedim(min(misfits, key=lambda axis: misfits[axis]), 1)


@torch.no_grad()
def layers_with_maps(
    model: nn.Module,
    run: Callable[[], object],
    clip_shape: tuple[int, int, int],
    clips: int | None = None,
) -> list[str]:
    """The outermost layers of the backbone whose maps have more than one cell.

    Args:
        model: The recognizer.
        run: Runs it on clips.
        clip_shape: (T, H, W) of these.
        clips: How many they are, as in `to_channels_first`.

    Returns:
        Their paths, in the order in which they run.
    """
    found: list[str] = []

    def look_at(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or path in found:
                return
            try:
                grid = to_channels_first(output, clip_shape, path, model, clips).shape[2:]
            except (ValueError, RuntimeError):  # no map at all
                return
            if grid.numel() > 1:
                found.append(path)

        return look

    handles = [
        module.register_forward_hook(look_at(name.replace('.', '/')))
        for name, module in model.named_modules()
        if name.startswith('backbone')
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    outermost = min((path.count('/') for path in found), default=0)
    return [path for path in found if path.count('/') == outermost]


def _misfit(grid: tuple[int, ...], clip_shape: tuple[int, int, int]) -> float:
    """How far from square the patches of a grid are, and from a whole number of pixels."""
    _, height, width = (size / n for size, n in zip(clip_shape, grid, strict=True))
    return abs(height - width) / max(height, width) + 0.01 * (height % 1 + width % 1)
