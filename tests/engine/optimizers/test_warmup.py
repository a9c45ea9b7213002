"""WarmupLR against the published formula, alone and in a run."""

import math

import pytest
import torch
from mmengine.hooks import Hook

from mmaction.engine.optimizers.warmup import WarmupLR
from mmaction.registry import PARAM_SCHEDULERS
from tests.engine.toy import build_runner, toy_config


def optimizer(*rates):
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates]
    return torch.optim.SGD(groups, lr=1)


def build(target, length=1, **config):
    return PARAM_SCHEDULERS.build(
        dict(type='WarmupLR', **config), default_args=dict(optimizer=target, epoch_length=length)
    )


def rates_of(target, scheduler, steps):
    rates = []
    for _ in range(steps):
        rates.append([group['lr'] for group in target.param_groups])
        target.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


FACTORS = {
    'linear': lambda done, start: 1 - (1 - start) * (1 - done),
    'constant': lambda done, start: start,
    'exp': lambda done, start: start ** (1 - done),
}


@pytest.mark.parametrize('policy', FACTORS)
@pytest.mark.parametrize(
    ('config', 'length'),
    [
        (dict(end=2.5, convert_to_iter_based=True), 17.5),  # of 7 steps: the published case
        (dict(end=3, convert_to_iter_based=True), 21),
        (dict(end=0.1, convert_to_iter_based=True), 0.7),
        (dict(end=12, by_epoch=False), 12),
        (dict(end=1, by_epoch=False), 1),
    ],
)
def test_factor_is_that_of_mmcv_at_every_step(policy, config, length):
    target = optimizer(1.0, 0.02)
    scheduler = build(target, 7, policy=policy, start_factor=0.1, **config)
    wanted = [FACTORS[policy](i / length, 0.1) if i < length else 1.0 for i in range(30)]
    wanted = torch.tensor(wanted, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.02]).double()
    torch.testing.assert_close(rates_of(target, scheduler, 30), wanted, rtol=0, atol=1e-9)


def test_warmup_begins_late():
    target = optimizer(1.0)
    scheduler = build(target, 4, begin=1, end=2, convert_to_iter_based=True)
    rates = rates_of(target, scheduler, 10)[:, 0].tolist()
    assert rates == pytest.approx([1] * 4 + [0.1, 0.325, 0.55, 0.775] + [1] * 2)


def test_state_continues():
    whole, first, second = (optimizer(0.5) for _ in range(3))
    wanted = rates_of(whole, build(whole, 7, end=2.5, convert_to_iter_based=True), 20)
    scheduler = build(first, 7, end=2.5, convert_to_iter_based=True)
    rates_of(first, scheduler, 9)
    resumed = build(second, 7, end=2.5, convert_to_iter_based=True)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    torch.testing.assert_close(rates_of(second, resumed, 11), wanted[9:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(start_factor=0), 'start_factor=0 must lie above 0'),
        (dict(start_factor=1.1), 'start_factor=1.1 must lie above 0, at most at 1'),
        (dict(policy='cosine'), "policy='cosine' is none of linear, constant, exp"),
    ],
)
def test_wrong_arguments(config, message):
    with pytest.raises(ValueError, match=message):
        build(optimizer(1.0), end=3, **config)


def test_steps_are_not_converted_to_steps():
    with pytest.raises(ValueError, match='needs by_epoch=True'):
        WarmupLR.build_iter_from_epoch(optimizer(1.0), by_epoch=False, epoch_length=7)


class RecordRates(Hook):
    """The learning rate of each step of a run."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


def test_run_has_the_published_rate_at_every_micro_batch(tmp_path):
    """7 batches an epoch, accumulated by 2; warm-up over 1.5 epochs, cosine by epoch to 0."""
    cfg = toy_config(
        tmp_path,
        param_scheduler=[
            dict(type='WarmupLR', start_factor=0.1, end=1.5, convert_to_iter_based=True),
            dict(type='CosineAnnealingLR', T_max=4, eta_min=0, end=4),
        ],
    )
    runner, hook = build_runner(cfg), RecordRates()
    runner.register_hook(hook)
    runner.train()
    L, E, w, base = 7, 4, 1.5, 5e-3
    wanted = [
        base * (1 + math.cos(math.pi * (i // L) / E)) / 2 * min(1, 1 - 0.9 * (1 - i / (w * L)))
        for i in range(E * L)
    ]
    assert hook.rates == pytest.approx(wanted, rel=0, abs=1e-9)
