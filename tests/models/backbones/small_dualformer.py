"""A small DualFormer for tests, and what the published ones look like."""

import json
from pathlib import Path

import torch
from torch import nn

from mmaction.models.backbones import DualFormer

GOLDEN = Path(__file__).parents[2] / 'golden'
PARAMETERS = {'tiny': 21.767, 'small': 48.908, 'base': 86.838}
# every kind of stage (fine and coarse, fine, none) at small cost
SMALL = dict(
    arch=dict(
        embed_dims=(16, 24, 32),
        num_heads=(2, 3, 4),
        depths=(2, 3, 2),
        mlp_ratios=(2, 2, 2),
        local_sizes=((2, 4, 4), (2, 2, 2), (2, 2, 2)),
        fine_pysizes=((2, 4, 4), (2, 2, 2), (4, 4, 4)),
        coarse_pysizes=((2, 2, 2), None, None),
    ),
    video_size=(8, 64, 64),
)


def randomized(model: nn.Module) -> nn.Module:
    """Weights large enough for every path to matter."""
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3 if tensor.ndim == 1 else 2 / tensor[0].numel() ** 0.5)
    return model


def shapes_of(model: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(value.shape)) for name, value in model.state_dict().items()]


def on_meta(*args, **kwargs) -> DualFormer:
    """A model without weights, which takes no time."""
    with torch.device('meta'):
        return DualFormer(*args, **kwargs)


def golden_shapes(arch: str) -> list[tuple[str, list[int]]]:
    return list(json.loads((GOLDEN / f'state_dict_{arch}.json').read_text()).items())
