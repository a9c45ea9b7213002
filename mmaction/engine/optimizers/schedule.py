"""Learning rate schedules as a whole: tried before training, run up when resuming."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    PolyParamScheduler,
    ReduceOnPlateauParamScheduler,
)

from mmaction.errors import ConfigError
from mmaction.utils.cli import describe

from .warmup import WarmupLR

__all__ = ['can_run_up', 'run_up_schedulers', 'schedule_warnings', 'try_schedule']

_TRIED_STEPS = 20000
"""How many steps of a training are tried: half a second; warm-up ends within them."""
_ROUNDING = 1e-12
"""By how much a chain of factors that ends at a learning rate of 0 may miss it."""


def can_run_up(schedulers: Any) -> bool:
    """Whether the past of the schedulers follows from the step alone, not from metrics."""
    return not any(isinstance(s, ReduceOnPlateauParamScheduler) for s in schedulers or ())


def run_up_schedulers(
    schedulers: Sequence[_ParamScheduler], per_epoch: int, epochs: int, steps: int, start: int = 1
) -> None:
    """Step fresh schedulers as a run to this position has done, from a step on."""
    # Why not set last_step? mmengine's schedulers change the rate by a factor on the rate before,
    # so the rate at a step follows only from all steps before it.
    for step in range(start, steps + 1):
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
        if step % per_epoch == 0 and step // per_epoch <= epochs:
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()


def try_schedule(schedulers: Sequence[_ParamScheduler], steps: int, steps_per_epoch: int) -> None:
    """Run schedulers through a training, but for its steps.

    Args:
        schedulers: Built schedulers of one optimizer, which is of no use afterwards.
        steps: Steps of the whole training, of which the first 20,000 are tried.
        steps_per_epoch: Steps of an epoch.

    Raises:
        ConfigError: A scheduler fails, or a learning rate is negative or no number.
    """
    if not schedulers or not can_run_up(schedulers):
        return
    groups = schedulers[0].optimizer.param_groups
    del groups[1:]  # their rates differ by a factor, and there may be hundreds
    for scheduler in schedulers:
        scheduler.verbose = False
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='(Seems like|Detected call)')
        for step in range(1, min(steps, _TRIED_STEPS) + 1):
            for scheduler in schedulers:
                place = f'config key param_scheduler: at step {step}, {type(scheduler).__name__}'
                try:
                    run_up_schedulers([scheduler], steps_per_epoch, step, step, step)
                except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                    raise ConfigError(f'{place} fails: {describe(error)}') from error
                rate = groups[0]['lr']
                if not (math.isfinite(rate) and rate > -_ROUNDING):
                    raise ConfigError(f'{place} makes the learning rate {rate:g}')


def schedule_warnings(schedulers: Iterable[Any], steps: int, steps_per_epoch: int) -> list[str]:
    """What is odd about the end of a learning rate schedule, in sentences.

    A scheduler that falls and has no `end` runs to the end of training.

    Args:
        schedulers: Built schedulers of mmengine.
        steps: Steps of the whole training.
        steps_per_epoch: Steps of an epoch.
    """
    found = []
    epochs = steps / steps_per_epoch
    for scheduler in schedulers:
        falls = isinstance(scheduler, (CosineAnnealingParamScheduler, PolyParamScheduler))
        rises = _warms_up(scheduler)
        if not (falls or rises) or scheduler.param_name != 'lr':
            continue
        name = f'param_scheduler {type(scheduler).__name__}'
        unit = steps_per_epoch if scheduler.by_epoch else 1
        if rises:
            if (scheduler.end - 1) * unit >= steps:
                found.append(
                    f'{name} warms up beyond the end of training, epoch {_short(epochs)}: the '
                    'learning rate never reaches its full value; set an earlier end'
                )
            continue
        end = scheduler.end * unit / steps_per_epoch
        period = getattr(scheduler, 'T_max', None)
        advice = 'leave T_max and end out, and it ends with training'
        if period is not None and abs(period * unit - (scheduler.end - scheduler.begin) * unit) > 1:
            found.append(
                f'{name} falls over T_max={_short(period * unit / steps_per_epoch)} epochs, but '
                f'acts until epoch {_short(end)}: {advice}'
            )
        elif abs(end - epochs) * steps_per_epoch > 1:
            after = 'the learning rate then stays where it is' if end < epochs else 'it is cut off'
            found.append(
                f'{name} ends at epoch {_short(end)}, but training at epoch {_short(epochs)}: '
                f'{after}; {advice}'
            )
    return found


def _warms_up(scheduler: Any) -> bool:
    if isinstance(scheduler, LinearParamScheduler):
        return bool(scheduler.start_factor < scheduler.end_factor)
    return isinstance(scheduler, WarmupLR)


def _short(epochs: float) -> str:
    return f'{epochs:g}' if epochs == round(epochs) else f'{epochs:.2f}'
