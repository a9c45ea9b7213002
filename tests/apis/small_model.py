"""A small config with both attentions, weights by which the classes differ, and its export."""

from pathlib import Path

import torch

from mmaction.apis import init_recognizer
from mmaction.cli.export import main

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'

# One stage with both attentions: what the variants differ in lies before and behind it.
SMALL = f"""
_base_ = {str(ROOT / CONFIG)!r}
arch = dict(
    _delete_=True,
    embed_dims=[16],
    num_heads=[2],
    depths=[2],
    mlp_ratios=[2],
    local_sizes=[(4, 5, 5)],
    fine_pysizes=[(2, 5, 5)],
    coarse_pysizes=[(2, 2, 2)],
)
model = dict(backbone=dict(arch=arch), cls_head=dict(in_channels=16))
"""


def write_weights(path, config):
    """Weights by which the classes differ much, unlike those at the start of training."""
    torch.manual_seed(0)
    model = init_recognizer(config, None, device='cpu')
    model.cls_head.fc_cls.weight.data *= 50
    meta = dict(dataset_meta=dict(classes=[f'class {i}' for i in range(8)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def write_small(folder):
    """The config and its weights in a folder."""
    config = folder / 'small.py'
    config.write_text(SMALL)
    return str(config), str(write_weights(folder / 'x.pth', str(config)))


def run(*args):
    """The exit status of `mmaction export`."""
    try:
        main([str(arg) for arg in args])
    except SystemExit as end:
        return end.code
    return 0
