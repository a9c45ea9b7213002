"""What a resumed run does otherwise than the run that wrote its checkpoint.

The settings of the config count; each change is reported, and where it touches the learning
rate the schedule is that of the config from its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from torch.optim import Optimizer

from .loops import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = ['SettingChanges', 'load_optimizer', 'setting_changes', 'setting_facts']

_IMPLEMENTATION = {'fused', 'foreach', 'capturable', 'differentiable'}
"""How an optimizer computes its step, which the device decides: no setting of the run."""
_MOVING = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}
"""What changes in a scheduler as it steps, or is told by the optimizer's settings."""


@dataclass
class SettingChanges:
    """What a config says otherwise than the run that wrote a checkpoint.

    Attributes:
        texts: Each change, with the value before and now.
        schedule: The learning rates of the steps to come are others.
        optimizer: The state of the optimizer cannot be used.
    """

    texts: list[str] = field(default_factory=list)
    schedule: bool = False
    optimizer: bool = False

    def report(self, filename: str, step: int, rate: float | None) -> str:
        """The changes in one sentence.

        Args:
            filename: The checkpoint.
            step: Next step.
            rate: Its learning rate, where the schedule is another one.
        """
        text = f'{filename} was written with other settings; those of the config are used: '
        text += '; '.join(self.texts)
        if self.optimizer:
            text += '; the optimizer starts without state'
        if rate is not None:
            text += (
                f'; the schedule is that of the config from its start, so step {step} has '
                f'learning rate {rate:.3g}'
            )
        return text

    def add(self, name: str, before: object, now: object) -> bool:
        """Note a change, if it is one."""
        changed = bool(before != now)
        if changed:
            self.texts.append(f'{name} {before} before, {now} now')
        return changed


def setting_changes(
    loop: EpochBasedTrainLoop | IterBasedTrainLoop,
    optimizer: Optimizer,
    schedulers: Sequence[_ParamScheduler],
    checkpoint: Mapping[str, Any],
) -> SettingChanges:
    """Hold the settings of a run against those of a checkpoint.

    Args:
        loop: The training loop.
        optimizer: The optimizer, without the state of the checkpoint.
        schedulers: Its schedulers, not yet stepped.
        checkpoint: What the run to resume has written.

    Raises:
        ValueError: The checkpoint lacks what it says that it has.
    """
    changes, meta = SettingChanges(), checkpoint['meta']
    if 'optimizer' not in meta:  # of another program, which does not note its settings
        return changes
    for key in ('max_epochs', 'max_iters'):
        # Steps follow from epochs, and from the batch size, which `move_position` tells.
        if key in meta and (key == 'max_epochs' or isinstance(loop, IterBasedTrainLoop)):
            changes.add(f'train_cfg.{key}', meta[key], getattr(loop, key))
    saved = checkpoint['optimizer'].get('param_groups')
    if not saved:
        raise ValueError('its optimizer has no param_groups')
    changes.optimizer = changes.add('optimizer', meta['optimizer'], type(optimizer).__name__)
    if len(saved) != len(optimizer.param_groups) or any(
        len(old['params']) != len(new['params'])
        for old, new in zip(saved, optimizer.param_groups, strict=True)
    ):
        changes.optimizer = True
        changes.texts.append('parameters are grouped in another way')
    else:
        _compare_groups(changes, saved, optimizer.param_groups)
    # With other steps in an epoch, which `move_position` tells, their numbers are others.
    steps = len(loop.dataloader)
    comparable = meta.get('steps_per_epoch', steps) == steps
    _compare_schedulers(changes, schedulers, checkpoint, comparable)
    changes.schedule |= changes.optimizer
    return changes


def _compare_groups(
    changes: SettingChanges, saved: list[dict[str, Any]], groups: list[dict[str, Any]]
) -> None:
    told = set()
    for before, now in zip(saved, groups, strict=True):
        for key, value in now.items():
            # The rate of this moment is no setting, unless nothing ever moves it.
            if key == 'params' or key not in before or (key == 'lr' and 'initial_lr' in now):
                continue
            if key in _IMPLEMENTATION:
                continue
            old = tuple(before[key]) if isinstance(before[key], list) else before[key]
            new = tuple(value) if isinstance(value, list) else value
            if old != new and key not in told:
                told.add(key)
                changes.add(key.removeprefix('initial_'), old, new)
                changes.schedule |= key in ('lr', 'initial_lr')


def _compare_schedulers(
    changes: SettingChanges,
    schedulers: Sequence[_ParamScheduler],
    checkpoint: Mapping[str, Any],
    comparable: bool,
) -> None:
    states = checkpoint.get('param_schedulers') or []
    names = [type(scheduler).__name__ for scheduler in schedulers]
    before = checkpoint['meta']['schedulers']
    if len(states) != len(before):
        raise ValueError(f'it has {len(states)} states of {len(before)} schedulers')
    if len(states) != len(schedulers) or list(before) != names:
        changes.add('param_scheduler', ', '.join(before) or 'none', ', '.join(names) or 'none')
        changes.schedule = True
        return
    for name, scheduler, state in zip(names, schedulers, states, strict=True):
        if not comparable and not scheduler.by_epoch:
            continue
        for key, value in scheduler.state_dict().items():
            if key in state and key not in _MOVING and not key.startswith('_'):
                old = state[key]
                old = type(value)(old) if isinstance(value, (list, tuple, dict)) else old
                changes.schedule |= changes.add(f'{name}.{key}', old, value)


def load_optimizer(
    wrapper: OptimWrapper | OptimWrapperDict, state: dict[str, Any], changes: SettingChanges
) -> None:
    """Load the state of an optimizer and keep the settings of the config, all but learning rates.

    Raises:
        ValueError: It has another number of parameter groups.
    """
    if changes.optimizer:
        return
    saved, now = len(state['param_groups']), len(wrapper.optimizer.param_groups)
    if saved != now:
        raise ValueError(f'its optimizer has {saved} parameter groups, that of the config {now}')
    # With the group of the logged `base_lr`, which the wrapper holds beside those of the optimizer.
    settings = [
        {key: value for key, value in group.items() if key not in ('params', 'lr')}
        for group in wrapper.param_groups
    ]
    # Before loading: where the state is put (fused Adam counts its steps on the GPU) follows it.
    groups = [
        {**old, **{key: value for key, value in new.items() if key in _IMPLEMENTATION}}
        for old, new in zip(state['param_groups'], wrapper.optimizer.param_groups, strict=True)
    ]
    state = {**state, 'param_groups': groups}
    wrapper.load_state_dict(state)
    if not changes.texts:
        return
    for group, setting in zip(wrapper.param_groups, settings, strict=True):
        group.update(setting)


def setting_facts(loop: Any, optim_wrapper: Any, schedulers: Any) -> dict[str, Any]:
    """What a checkpoint notes of the settings that `setting_changes` compares."""
    return dict(
        max_epochs=loop.max_epochs,
        max_iters=loop.max_iters,
        optimizer=type(optim_wrapper.optimizer).__name__,
        schedulers=[type(scheduler).__name__ for scheduler in schedulers or ()],
    )
