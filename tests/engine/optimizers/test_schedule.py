"""Warnings of learning rates that do not end with training."""

import pytest
import torch
from mmengine.optim.scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolyLR,
    ReduceOnPlateauLR,
)

from mmaction.engine.optimizers.schedule import schedule_warnings, try_schedule
from mmaction.engine.optimizers.warmup import WarmupLR
from mmaction.errors import ConfigError


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'warning'),
    [
        (CosineAnnealingLR, dict(T_max=4, end=4), ''),
        (CosineAnnealingLR, dict(T_max=40, end=40, by_epoch=False), ''),
        (CosineAnnealingLR, dict(T_max=3, begin=1, end=4), ''),
        (PolyLR, dict(end=4), ''),
        (MultiStepLR, dict(milestones=[2], end=9), ''),
        (CosineAnnealingLR, dict(T_max=8, end=4), 'falls over T_max=8 epochs, but acts until'),
        (CosineAnnealingLR, dict(T_max=2, end=2), 'the learning rate then stays where it is'),
        (CosineAnnealingLR, dict(T_max=8, end=8), 'ends at epoch 8, but training at epoch 4'),
        (PolyLR, dict(end=25, by_epoch=False), 'ends at epoch 2.50, but training at epoch 4'),
        (LinearLR, dict(start_factor=0.1, end=4), ''),
        (LinearLR, dict(start_factor=0.1, end=40, by_epoch=False), ''),
        (LinearLR, dict(start_factor=1.0, end_factor=0.1, end=9), ''),
        (LinearLR, dict(start_factor=0.1, end=34), 'warms up beyond the end of training, epoch 4'),
        (LinearLR, dict(start_factor=0.1), 'never reaches its full value'),
        (WarmupLR, dict(end=3), ''),
        (WarmupLR, dict(end=41, by_epoch=False), 'warms up beyond the end of training, epoch 4'),
    ],
)
def test_schedule_that_does_not_end_with_training(kind, arguments, warning):
    """Four epochs of 10 steps."""
    found = schedule_warnings([kind(optimizer(), **arguments)], steps=40, steps_per_epoch=10)
    assert len(found) == bool(warning)
    assert all(warning in text for text in found)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        (LinearLR, dict(start_factor=0.0, end=5), 'at step 10, LinearLR fails: .*division by zero'),
        (
            LinearLR,
            dict(start_factor=0.0, begin=7, end=9, by_epoch=False),
            'at step 8, LinearLR fails: ',
        ),
        (LinearLR, dict(end_factor=0.0, end=5, by_epoch=False), None),
        (
            ExponentialLR,
            dict(gamma=float('nan')),
            'at step 10, ExponentialLR makes the learning rate nan',
        ),
        (ExponentialLR, dict(gamma=-1.0), 'at step 10, ExponentialLR makes the learning rate -1'),
        (
            MultiStepLR,
            dict(milestones=[2], gamma=-0.1),
            'at step 20, MultiStepLR makes the learning rate -0.1',
        ),
        (CosineAnnealingLR, dict(T_max=4, end=4), None),
        (CosineAnnealingLR, dict(T_max=37, end=37, by_epoch=False), None),
        (ReduceOnPlateauLR, dict(), None),
    ],
)
def test_schedule_is_tried_before_training(kind, arguments, message):
    """Four epochs of 10 steps."""
    built = kind(optimizer(), **arguments)
    if message is None:
        try_schedule([built], steps=40, steps_per_epoch=10)
        return
    with pytest.raises(ConfigError, match=f'param_scheduler: {message}'):
        try_schedule([built], steps=40, steps_per_epoch=10)
