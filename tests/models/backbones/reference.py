"""Small transformers with every option, held against what mmaction2 1.2 computes with them.

`data/transformers.json.gz` was recorded from mmaction2 itself: outputs in evaluation and, of
networks without stochastic depth, in training; the norm of every parameter's gradient of the
sum of outputs weighted by `make_input(shape, 7)`; the norm of every running statistic after it.
"""

import copy
import gzip
import json
from functools import cache
from pathlib import Path

import pytest
import torch

from mmaction.registry import MODELS
from tests.golden.fill import check_probe, fill, make_input

DATA = Path(__file__).parents[2] / 'data' / 'transformers.json.gz'


@cache
def recorded():
    return json.loads(gzip.decompress(DATA.read_bytes()))


def cases_of(family):
    """Names of the recorded networks of a family."""
    return [name for name in recorded() if name.startswith(f'{family}/')]


def check_case(name):
    """Outputs, gradients, frozen parameters and statistics of one network."""
    case = recorded()[name]
    model = MODELS.build(copy.deepcopy(case['backbone']))
    state = {
        key: torch.from_numpy(fill(key, tuple(value.shape))) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    clip = make_input(tuple(case['input_shape']), case['input_seed'])
    _check_outputs(model.eval()(clip), case['eval'])
    if 'train' in case:
        outputs = _check_outputs(model.train()(clip), case['train'])
    else:
        outputs = _tensors(model(clip))
    sum((out * make_input(tuple(out.shape), 7)).sum() for out in outputs).backward()
    gradients = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    assert list(gradients) == list(case['gradients'])  # the order of an optimizer's state
    assert gradients == pytest.approx(case['gradients'], rel=2e-3, abs=2e-3)
    running = {n: b.norm().item() for n, b in model.named_buffers() if 'running' in n}
    assert running == pytest.approx(case['buffers'], rel=1e-4)


def _tensors(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)]


def _check_outputs(output, probes):
    tensors = _tensors(output)
    assert [list(tensor.shape) for tensor in tensors] == [probe['shape'] for probe in probes]
    for tensor, probe in zip(tensors, probes, strict=True):
        check_probe(tensor, {**probe, 'size': tensor.numel()}, 1e-4)
    return tensors


def check_checkpointing(name):
    """With `with_cp`, blocks run again in the backward pass and gradients stay the same."""
    case = recorded()[name]
    clip = make_input(tuple(case['input_shape']), case['input_seed'])
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = MODELS.build(dict(copy.deepcopy(case['backbone']), with_cp=with_cp)).train()
        runs = []
        for block in model.modules():
            if hasattr(block, 'attn') and not hasattr(block, 'lmhra1'):
                block.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        torch.manual_seed(1)
        sum(out.square().sum() for out in _tensors(model(clip))).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        ran = len(runs)
        runs.clear()
        with torch.no_grad():
            model.eval()(clip)
        assert ran == (2 if with_cp else 1) * len(runs) > 0
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, again, rtol=1e-4, atol=1e-5)
