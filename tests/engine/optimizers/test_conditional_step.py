import copy

import pytest
import torch
from torch import nn, optim

from mmaction.engine.optimizers import conditional_step
from mmaction.engine.optimizers.conditional_step import step_unless

OPTIMIZERS = {
    'fused Adam': lambda p: optim.Adam(p, fused=True, amsgrad=True),
    'fused AdamW': lambda p: optim.AdamW(p, fused=True),
    'AdamW': lambda p: optim.AdamW(p),
    'SGD': lambda p: optim.SGD(p, 0.1),
    'SGD with dampening': lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.5),
    'fused SGD': lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.5, fused=True),
    'RMSprop': lambda p: optim.RMSprop(p, momentum=0.9, centered=True),
    'Adagrad': lambda p: optim.Adagrad(p),
    'Adadelta': lambda p: optim.Adadelta(p),
    'NAdam': lambda p: optim.NAdam(p),
}


def state_of(model, optimizer):
    return [p.detach().clone() for p in model.parameters()], copy.deepcopy(optimizer.state_dict())


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize('read_late', [False, True])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_step_is_called_off_or_made(name, read_late, monkeypatch):
    """The first and a later one; steps that are made are those of the optimizer alone."""
    monkeypatch.setattr(conditional_step, '_is_read_late', lambda flag: read_late)
    model = nn.Linear(3, 2)
    plain = copy.deepcopy(model)
    ours, theirs = (OPTIMIZERS[name](list(net.parameters())) for net in (model, plain))
    for bad in (True, False, True, True, False, False):
        gradients = [torch.randn_like(p) for p in model.parameters()]
        before = state_of(model, ours)
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            p.grad = gradient * float('nan') if bad else gradient.clone()
        step_unless(ours, torch.tensor(float(bad)))
        if bad:
            # Fused Adam makes its state of zeros, which is what it would start with later.
            weights, state = state_of(model, ours)
            assert same(weights, before[0])
            assert same(state, before[1]) or (
                name.startswith('fused Adam') and not before[1]['state']
            )
            continue
        for p, gradient in zip(plain.parameters(), gradients, strict=True):
            p.grad = gradient.clone()
        theirs.step()
        assert same(state_of(model, ours), state_of(plain, theirs))


def test_flag_is_left_to_no_later_step():
    model = nn.Linear(3, 2)
    optimizer = optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 3)).sum().backward()
    step_unless(optimizer, torch.tensor(1.0))
    before = state_of(model, optimizer)
    optimizer.step()
    assert not same(state_of(model, optimizer), before)


def test_state_that_is_no_tensor_is_stepped_by_the_host(monkeypatch):
    class Counting(optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group['params']:
                    self.state[p]['count'] = self.state[p].get('count', 0) + 1
            super().step(closure)

    monkeypatch.setattr(conditional_step, '_is_read_late', lambda flag: True)
    weight = nn.Parameter(torch.ones(2))
    optimizer = Counting([weight], 0.1)
    for bad in (0.0, 1.0, 1.0, 0.0):
        weight.grad = torch.ones(2)
        step_unless(optimizer, torch.tensor(bad))
    assert optimizer.state[weight]['count'] == 2
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.8))
