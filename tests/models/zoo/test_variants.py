"""Other options than the published ones, in training too, against what mmaction2 1.2 gives.

`data/cnn_variants.json.gz` holds small networks with rarer options: the model, the
scores of a few clips, and in training mode (without dropout) the losses, the
gradient of the first convolution and the statistics of the last BatchNorm.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from tests.golden.fill import check_probe, load_deterministic, make_input

DATA = Path(__file__).parents[2] / 'data' / 'cnn_variants.json.gz'
RECORDED = json.loads(gzip.decompress(DATA.read_bytes()))
VARIANTS = RECORDED['variants']


def build(name):
    return load_deterministic(MODELS.build(Config(dict(model=VARIANTS[name]['model'])).model))


@pytest.mark.parametrize('name', VARIANTS)
def test_scores(name):
    entry = VARIANTS[name]
    model = build(name).eval()
    if 'shapes' in entry:
        assert {k: list(v.shape) for k, v in model.state_dict().items()} == entry['shapes']
    model.cls_head.average_clips = 'score'
    clips = make_input(entry['input_shape'], entry['input_seed'])
    with torch.no_grad():
        done = model(clips, [ActionDataSample() for _ in clips], mode='predict')
    check_probe(torch.stack([sample.pred_score for sample in done]), entry['scores'], 1e-4)


@pytest.mark.parametrize('name', VARIANTS)
def test_training(name):
    entry = VARIANTS[name]['train']
    model = build(name).train().double()  # so that every digit counts
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    clips = make_input(entry['input_shape'], 12).double()
    samples = [ActionDataSample().set_gt_label(label) for label in (3, 7)]
    losses = model(clips, samples, mode='loss')
    assert set(losses) == set(entry['losses'])
    for key, value in entry['losses'].items():
        assert losses[key].item() == pytest.approx(value, rel=1e-6), key
    if entry['gradient'] is not None:
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        convs = [p for n, p in model.named_parameters() if p.ndim > 3 and 'backbone' in n]
        largest = np.abs(entry['gradient']['val']).max()
        check_probe(convs[0].grad, entry['gradient'], 1e-5 * largest)
    for key, probe in entry['running_var'].items():
        check_probe(model.state_dict()[key], probe, 1e-5 * max(probe['val']))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen[:3] == entry['frozen']


@pytest.mark.parametrize('name', RECORDED['tpn'])
def test_names_and_shapes_of_temporal_pyramids(name):
    entry = RECORDED['tpn'][name]
    with torch.device('meta'):
        model = MODELS.build(Config(dict(model=entry['model'])).model)
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == entry['shapes']
    assert sum(p.numel() for p in model.parameters()) == entry['parameters']
