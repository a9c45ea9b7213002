"""Whether the schedule of a run ends where the run does, and what resuming changes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.optim.scheduler import CosineAnnealingParamScheduler, PolyParamScheduler

__all__ = ['schedule_warnings']


def schedule_warnings(schedulers: Iterable[Any], steps: int, steps_per_epoch: int) -> list[str]:
    """What is odd about the end of a learning rate schedule, in sentences.

    A scheduler without `end` runs to the end of training; these are for those that have one.

    Args:
        schedulers: Built schedulers of mmengine.
        steps: Steps of the whole training.
        steps_per_epoch: Steps of an epoch.
    """
    found = []
    epochs = steps / steps_per_epoch
    for scheduler in schedulers:
        falls = isinstance(scheduler, (CosineAnnealingParamScheduler, PolyParamScheduler))
        if not falls or scheduler.param_name != 'lr':
            continue
        name = f'param_scheduler {type(scheduler).__name__}'
        unit = steps_per_epoch if scheduler.by_epoch else 1
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


def _short(epochs: float) -> str:
    return f'{epochs:g}' if epochs == round(epochs) else f'{epochs:.2f}'
