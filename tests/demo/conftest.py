"""A small model on disk, as the demos take it."""

import torch

from mmaction.apis import init_recognizer
from tests.apis.conftest import CLASSES, tiny_config

NAMES = [f'class {"abcdef"[i]}' for i in range(CLASSES)]


def write_model(folder, **changes):
    """Write config.py and model.pth, whose weights are random, into a folder."""
    torch.manual_seed(3)
    cfg = tiny_config(**changes)
    cfg.dump(folder / 'config.py')
    model = init_recognizer(cfg, device='cpu')
    meta = dict(dataset_meta=dict(classes=NAMES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')
