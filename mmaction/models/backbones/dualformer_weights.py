"""Pretrained weights of DualFormer: published 3-D ones, and Twins-SVT's inflated over time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

__all__ = ['bare_state_dict', 'inflate', 'load_pretrained', 'mismatches']


def bare_state_dict(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """The backbone's entries of a checkpoint in any of its usual wrappings.

    Takes them from under `state_dict` or `model` and strips `module.`, `_orig_mod.` (of
    torch.compile, anywhere) and `backbone.` from their names; a classifier's entries are left out.
    """
    for key in ('state_dict', 'model'):
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    state = {
        name.replace('_orig_mod.', '').removeprefix('module.'): value
        for name, value in loaded.items()
    }
    if any(name.startswith('backbone.') for name in state):
        state = {
            name.removeprefix('backbone.'): value
            for name, value in state.items()
            if name.startswith('backbone.')
        }
    return {name: v for name, v in state.items() if not name.startswith(('head.', 'cls_head.'))}


def mismatches(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from being those of a model: names of one alone, and other shapes.

    Args:
        state: The weights.
        own: The state dict of the model.
    """
    wrong = [f'missing: {name}' for name in own if name not in state]
    wrong += [f'unknown: {name}' for name in state if name not in own]
    wrong += [
        f'shape of {name}: {tuple(value.shape)}, the model has {tuple(own[name].shape)}'
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    return wrong


def inflate(state_2d: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """2-D weights as 3-D ones: repeated over the temporal kernel and divided by its length.

    So a clip of one repeated frame gets, from each convolution, what the 2-D model
    gives the frame. `lr` has no counterpart in Twins-SVT: where it is missing, it starts
    as the average of its window. Where `sr` mixes channels, as it does in Twins-SVT, its
    diagonal is taken, which of all depthwise kernels is nearest to it.
    """
    state = dict(state_2d)
    for name, target in model.state_dict().items():
        if '.attn.lr.' in name and name not in state:
            state[name] = _averaging(name, target)
        elif name in state and target.ndim == 5 and state[name].ndim == 4:
            kernel = state[name]
            if name.endswith('attn.sr.weight') and kernel.shape[:2] == (len(target),) * 2:
                kernel = kernel.diagonal().permute(2, 0, 1).unsqueeze(1)
            length = target.shape[2]
            state[name] = kernel.unsqueeze(2).repeat(1, 1, length, 1, 1) / length
    return state


def _averaging(name: str, target: Tensor) -> Tensor:
    """What an entry of `lr` (convolution, BatchNorm, convolution) is to take an average."""
    if target.ndim == 5:
        return torch.full_like(target, 1 / target[0].numel())
    is_scale = name.endswith(('lr.1.weight', 'running_var'))
    return torch.full_like(target, 1 if is_scale else 0)


def load_pretrained(model: nn.Module, filename: str, is_2d: bool | None = None) -> None:
    """Load a 3-D or, inflated, a 2-D checkpoint; all of it or nothing.

    Pooling kernels of a model of another `video_size` are left out and named: as in the
    release they start anew.

    Raises:
        ValueError: Names or shapes differ (all are listed), or the file is not of
            the dimension that `is_2d` says.
    """
    state = bare_state_dict(CheckpointLoader.load_checkpoint(filename, map_location='cpu'))
    first = state.get('patch_embeds.0.proj.weight')
    if first is None:
        raise ValueError(
            f'{filename} is no DualFormer checkpoint: it has no "patch_embeds.0.proj.weight" '
            f'(its first names: {list(state)[:3]}).'
        )
    found_2d = first.ndim == 4
    if is_2d is not None and is_2d != found_2d:
        raise ValueError(
            f'pretrained2d={is_2d}, but {filename} holds {2 if found_2d else 3}-D weights.'
        )
    given = set(state)
    if found_2d:
        state = inflate(state, model)
    own = model.state_dict()
    anew = [
        f'{name}.weight'
        for name, module in model.named_modules()
        if getattr(module, 'kernel_follows_video_size', False)
        and f'{name}.weight' in state
        and state[f'{name}.weight'].shape != own[f'{name}.weight'].shape
    ]
    state.update({name: own[name] for name in anew})
    if problems := mismatches(state, own):
        listed = '\n  '.join(problems)
        raise ValueError(f'{filename} does not fit the model:\n  {listed}')
    model.load_state_dict(state)
    averages = len(set(own) - given)
    how = ' (2-D, inflated over time)' if found_2d else ''
    how += f'; {averages} of the coarse level start as averages' if averages else ''
    loaded = len(given) - len(anew)
    print_log(f'Loaded {loaded} of {len(own)} tensors from {filename}{how}', logger='current')
    if anew:
        print_log(
            f'{filename} is of another video_size: these pooling kernels start anew: '
            f'{", ".join(anew)}',
            logger='current',
            level=logging.WARNING,
        )
