"""Other options than the published ones, in training too, against what mmaction2 1.2 gives.

`data/cnn_variants.json.gz` holds small networks with rarer options: the model, the
scores of a few clips, and in training mode (without dropout) the losses, the
gradient of the first convolution and the statistics of the last BatchNorm.
`data/options.json.gz` holds more, in less detail: freezing of every family, other clips,
heads and losses.
"""

import gzip
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmaction.models.backbones.dualformer_blocks import DropPath
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from tests.golden.fill import check_probe, load_deterministic, make_input

DATA = Path(__file__).parents[2] / 'data' / 'cnn_variants.json.gz'
RECORDED = json.loads(gzip.decompress(DATA.read_bytes()))
VARIANTS = RECORDED['variants']
OPTIONS = json.loads(gzip.decompress(DATA.with_name('options.json.gz').read_bytes()))


def build(entry):
    return load_deterministic(MODELS.build(Config(dict(model=entry['model'])).model))


def without_dropout(model):
    """In training mode and in double precision, so that every digit counts."""
    for module in model.train().double().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
    return model


@pytest.fixture(scope='module', params=VARIANTS)
def name(request):
    """Of a network with rarer options; its tests follow each other."""
    return request.param


@lru_cache(1)
def network(name):
    """The network, whose weights take a second to draw."""
    return build(VARIANTS[name])


def test_scores(name):
    model, entry = network(name).eval(), VARIANTS[name]
    if 'shapes' in entry:
        assert {k: list(v.shape) for k, v in model.state_dict().items()} == entry['shapes']
    model.cls_head.average_clips = 'score'
    clips = make_input(entry['input_shape'], entry['input_seed'])
    with torch.no_grad():
        done = model(clips, [ActionDataSample() for _ in clips], mode='predict')
    check_probe(torch.stack([sample.pred_score for sample in done]), entry['scores'], 1e-4)


def test_training(name):
    model, entry = without_dropout(network(name)), VARIANTS[name]['train']
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


@pytest.mark.slow
@pytest.mark.parametrize('name', OPTIONS)
def test_other_options(name):
    """Scores, losses, what is frozen, gradients and running statistics."""
    entry = OPTIONS[name]
    model = build(entry).eval()
    model.cls_head.average_clips = 'score'
    shape = list(entry['input_shape'])
    clips = make_input(shape, 11)
    np.random.seed(1)  # TRN draws its frames at random
    with torch.no_grad():
        done = model(clips, [ActionDataSample() for _ in clips], mode='predict')
    largest = max(1.0, *(abs(value) for value in entry['scores']['val']))
    check_probe(torch.stack([each.pred_score for each in done]), entry['scores'], 1e-4 * largest)

    model = without_dropout(build(entry))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == entry['frozen']
    norms = {name for name, module in model.named_modules() if name in entry['eval_norms']}
    assert norms == set(entry['eval_norms'])
    assert not any(model.get_submodule(name).training for name in norms)
    segments = [model.backbone, model.cls_head]
    shape[:2] = 2, 1
    if type(model).__name__ == 'Recognizer2D':
        found = [getattr(part, 'num_segments', None) for part in segments]
        shape[1] = next(filter(None, found), entry['input_shape'][1])
    samples = [ActionDataSample().set_gt_label(label) for label in labels_of(model.cls_head)]
    np.random.seed(1)
    losses = model(make_input(shape, 12).double(), samples, mode='loss')
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(
        entry['losses'], rel=1e-5
    )
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == entry['trained']
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    assert norm == pytest.approx(entry['gradient'], rel=1e-4, abs=1e-9)
    running = sum(b.norm().item() for name, b in model.named_buffers() if 'running' in name)
    assert running == pytest.approx(entry['running'], rel=1e-5)


def labels_of(head):
    """Two samples' labels: classes, or with several labels a row of zeros and ones."""
    if not head.multi_class:
        return 3, 7
    rows = torch.zeros(2, head.num_classes, dtype=torch.float64)
    rows[0, [1, 3]] = rows[1, 7] = 1
    return rows


@pytest.mark.parametrize('name', RECORDED['tpn'])
def test_names_and_shapes_of_temporal_pyramids(name):
    entry = RECORDED['tpn'][name]
    with torch.device('meta'):
        model = MODELS.build(Config(dict(model=entry['model'])).model)
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == entry['shapes']
    assert sum(p.numel() for p in model.parameters()) == entry['parameters']


@pytest.mark.parametrize('relation', ['TRN', 'TRNMultiScale'])
def test_trn_head_has_its_parameters_in_the_order_of_mmaction2(relation):
    cfg = dict(type='TRNHead', num_classes=3, in_channels=8, relation_type=relation)
    names = [name for name, _ in MODELS.build(cfg).named_parameters()]
    assert names[-2:] == ['fc_cls.weight', 'fc_cls.bias']
    assert names[0].startswith('consensus.')
