"""Learning rates of 0.x schedules, as mmcv computes them."""

import math

import numpy as np
import pytest
import torch

from mmaction.registry import PARAM_SCHEDULERS

EPOCH = 40


def learning_rates(param_scheduler, epochs, rate=1.0):
    """The learning rate of each step, as mmengine's runner and hook make it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedulers = []
    for config in param_scheduler or []:
        config = dict(config)
        if config.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(config.pop('type'))
            schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=EPOCH, **config))
        else:
            schedulers.append(PARAM_SCHEDULERS.build(dict(config, optimizer=optimizer)))
    rates = []
    for step in range(epochs * EPOCH):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (step + 1) % EPOCH == 0:
                scheduler.step()
    return np.array(rates)


def published_rate(step, policy, warm_up=None):
    """The learning rate of mmcv 1.x for a base of 1; `warm_up` is (steps, first factor, 'exp'?)."""
    epoch = step // EPOCH
    rate = policy(epoch, step / EPOCH)
    if warm_up is not None and step < warm_up[0]:
        length, first, *kind = warm_up
        left = 1 - step / length
        rate *= first**left if kind else 1 - left * (1 - first)
    return rate


def cosine(least, epochs, each_step=False):
    def rate(epoch, position):
        done = (position if each_step else epoch) / epochs
        return least + 0.5 * (1 - least) * (1 + math.cos(math.pi * done))

    return rate


@pytest.mark.parametrize(
    ('lr_config', 'policy', 'warm_up', 'tolerance'),
    [
        ("policy='CosineAnnealing', min_lr=0", cosine(0, 6), None, 1e-9),
        ("policy='CosineAnnealing', min_lr_ratio=0.1", cosine(0.1, 6), None, 1e-9),
        (
            "policy='CosineAnnealing', min_lr=0, by_epoch=False",
            cosine(0, 6, each_step=True),
            None,
            1e-9,
        ),
        (
            "policy='CosineAnnealing', min_lr=0, warmup='linear', warmup_iters=100,"
            'warmup_ratio=0.01',
            cosine(0, 6),
            (100, 0.01),
            1e-9,
        ),
        (
            "policy='CosineAnnealing', min_lr=0, warmup='linear', warmup_by_epoch=True,"
            'warmup_iters=2.5',
            cosine(0, 6),
            (100, 0.1),
            1e-9,
        ),
        (
            "policy='step', step=[2, 4], warmup='exp', warmup_iters=60, warmup_ratio=0.1",
            lambda e, _: 0.1 ** ((e >= 2) + (e >= 4)),
            (60, 0.1, 'exp'),
            1e-9,
        ),
        ("policy='step', step=[2, 4]", lambda e, _: 0.1 ** ((e >= 2) + (e >= 4)), None, 1e-9),
        ("policy='step', step=2, gamma=0.5", lambda e, _: 0.5 ** (e // 2), None, 1e-9),
        (
            "policy='step', step=[2, 4], warmup='linear', warmup_iters=60, warmup_ratio=0.1",
            lambda e, _: 0.1 ** ((e >= 2) + (e >= 4)),
            (60, 0.1),
            1e-9,
        ),
        (
            "policy='step', step=[50, 90], by_epoch=False",
            lambda _, p: 0.1 ** ((p >= 50 / EPOCH) + (p >= 90 / EPOCH)),
            None,
            1e-9,
        ),
        (
            "policy='poly', power=2, min_lr=0.01",
            lambda e, _: 0.99 * (1 - e / 6) ** 2 + 0.01,
            None,
            1e-9,
        ),
        (
            "policy='poly', power=2, min_lr=0.01, by_epoch=False",
            lambda _, p: 0.99 * (1 - p / 6) ** 2 + 0.01,
            None,
            0.01,
        ),
        # Where a warm-up meets a least rate, the two do not quite multiply.
        (
            "policy='CosineAnnealing', min_lr=0.01, warmup='linear', warmup_iters=100",
            cosine(0.01, 6),
            (100, 0.1),
            0.0015,
        ),
        ("policy='exp', gamma=0.7", lambda e, _: 0.7**e, None, 1e-9),
        ("policy='fixed', warmup='linear', warmup_iters=30", lambda *_: 1.0, (30, 0.1), 1e-9),
    ],
)
def test_learning_rates_equal_0x(changed, lr_config, policy, warm_up, tolerance):
    cfg = changed(f'lr_config = dict(_delete_=True, {lr_config})\ntotal_epochs = 6')
    found = learning_rates(cfg.param_scheduler, 6)
    wanted = [published_rate(step, policy, warm_up) for step in range(6 * EPOCH)]
    np.testing.assert_allclose(found, wanted, atol=tolerance)


def test_constant_warmup(changed):
    cfg = changed(
        "lr_config = dict(_delete_=True, policy='fixed', warmup='constant', warmup_iters=7)"
    )
    found = learning_rates(cfg.param_scheduler, 1)
    np.testing.assert_allclose(found[:7], 0.1)
    np.testing.assert_allclose(found[7:], 1)


def test_cosine_restarts(changed):
    cfg = changed(
        "lr_config = dict(_delete_=True, policy='CosineRestart', periods=[2, 4], min_lr=0,"
        'restart_weights=[1, 0.5])\ntotal_epochs = 6'
    )
    found = learning_rates(cfg.param_scheduler, 6)[::EPOCH]
    halves = [0.5 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    np.testing.assert_allclose(found, [1, 0.5, *halves], atol=1e-9)
