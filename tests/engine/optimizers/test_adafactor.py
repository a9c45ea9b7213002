import sys
from types import ModuleType

import pytest
import torch

from mmaction.engine.optimizers import DefaultOptimWrapperConstructor
from mmaction.errors import ConfigError

CONFIG = dict(optimizer=dict(type='Adafactor', lr=0.1, relative_step=False, scale_parameter=False))


def step(model):
    wrapper = DefaultOptimWrapperConstructor(dict(CONFIG))(model)
    wrapper.update_params(model(torch.ones(1, 3)).square().sum())
    return wrapper.optimizer


def test_config_names_the_optimizer_of_transformers(monkeypatch):
    library = ModuleType('transformers')
    library.Adafactor = type(
        'Adafactor',
        (torch.optim.SGD,),
        dict(__init__=lambda self, params, lr, **given: (
            torch.optim.SGD.__init__(self, params, lr), setattr(self, 'given', given))[0]),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, 'transformers', library)
    optimizer = step(torch.nn.Linear(3, 2))
    assert type(optimizer) is library.Adafactor
    assert optimizer.given == dict(relative_step=False, scale_parameter=False)


def test_it_trains_as_transformers_does():
    transformers = pytest.importorskip('transformers')
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    step(models[0])
    settings = {key: value for key, value in CONFIG['optimizer'].items() if key != 'type'}
    plain = transformers.Adafactor(models[1].parameters(), **settings)
    models[1](torch.ones(1, 3)).square().sum().backward()
    plain.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


def test_missing_transformers_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ConfigError, match='needs transformers, which cannot be imported'):
        step(torch.nn.Linear(3, 2))
