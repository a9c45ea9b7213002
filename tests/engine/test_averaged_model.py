import copy

import pytest
import torch
from mmengine import model as theirs
from torch import nn

from mmaction.registry import MODELS
from tests.engine.host_reads import host_reads

AVERAGES = {
    'ExponentialMovingAverage': dict(momentum=0.3),
    'StochasticWeightAverage': dict(interval=2),
    'MomentumAnnealingEMA': dict(momentum=0.1, gamma=3),
}


def drift(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))


@pytest.mark.parametrize('update_buffers', [False, True])
@pytest.mark.parametrize('name', AVERAGES)
def test_average_is_that_of_mmengine_and_reads_nothing(name, update_buffers):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    options = dict(AVERAGES[name], update_buffers=update_buffers)
    ours = MODELS.build(dict(type=name, model=model, **options))
    assert type(ours).__module__ == 'mmaction.engine.averaged_model'
    plain = getattr(theirs, name)(model, **options)
    for step in range(6):
        drift(model)
        model(torch.randn(4, 3))
        with host_reads() as places:
            ours.update_parameters(model)
        assert places == []
        plain.update_parameters(model)
        found, wanted = ours.state_dict(), plain.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
        if step == 3:  # resumed from mmengine's checkpoint
            drift(ours)
            ours = MODELS.build(dict(type=name, model=model, **options))
            ours.load_state_dict(copy.deepcopy(wanted))
