"""Before the first step: how long a training will take, how much memory, and the largest batch."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, NamedTuple

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from mmaction.utils.model_wrapper import bare_model

from .dry_run import DryRun, dry_run, step_seconds

if TYPE_CHECKING:
    from .runner import ActionRunner

__all__ = ['Forecast', 'forecast', 'how_long', 'when']


class Forecast(NamedTuple):
    """What the rest of a training will take.

    Args:
        dry: What steps took.
        step: Seconds from one step to the next, with the reading of clips.
        training: Seconds of all steps that are left.
        validation: Seconds of all validations that are left.
    """

    dry: DryRun
    step: float
    training: float
    validation: float

    @property
    def total(self) -> float:
        """Seconds until the end."""
        return self.training + self.validation

    def lines(self, on_gpu: bool, runs: int = 1) -> list[str]:
        """What the start report says, of this run and of all that are to come."""
        whole = f'; {runs} runs: {how_long(runs * self.total)}' if runs > 1 else ''
        dry, where = self.dry, 'GPU' if on_gpu else 'training process'
        most = f'the largest batch that fits is about {rounded(dry.largest)}'
        if dry.largest < dry.batch:
            most = f'a batch of {dry.batch} may not fit: the largest that does is {dry.largest}'
        return [
            f'time:  about {how_long(self.total)}{whole}, until {when(runs * self.total)} '
            f'({self.step:.2g} s a step, {how_long(self.validation)} for validation)',
            f'memory: about {dry.memory / 1e9:.2g} GB of {dry.free / 1e9:.3g} GB ({where}); {most}',
        ]


def rounded(number: int) -> int:
    """Two digits of a number, the rest cut off: nobody takes a batch of 1237."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return number // unit * unit


def how_long(seconds: float) -> str:
    """A time in words: `45 s`, `12 min`, `3 h 20 min`, `2 days 4 h`."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    if minutes < 90:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes} min'
    days, hours = divmod(hours, 24)
    return f'{days} days {hours} h'


def when(seconds: float) -> str:
    """The time of the clock in so many seconds, with the day where it is not today."""
    now = datetime.datetime.now()
    end = now + datetime.timedelta(seconds=seconds)
    return end.strftime('%H:%M' if end.date() == now.date() else '%Y-%m-%d %H:%M')


def forecast(runner: ActionRunner) -> Forecast | None:
    """Measure, and work out what the rest of the training takes; in the first process.

    Returns:
        None where it cannot be measured: no clip could be read (mmengine's own runner tries
        none), its samples are not packed as ours, the model is compiled, or its BatchNorm needs
        the other processes.

    Raises:
        ConfigError: The batch does not fit into the memory of the GPU.
    """
    wrapper, trial = runner.optim_wrapper, getattr(runner, 'trials', {}).get('train')
    loader = runner.train_dataloader
    if (
        trial is None
        or not (isinstance(trial.clip, dict) and 'inputs' in trial.clip)
        or not isinstance(wrapper, OptimWrapper)
        or not loader.batch_size
        or getattr(runner, 'compile_options', None) is not None
    ):
        return None
    model = bare_model(runner.model)
    measured = dry_run(
        model,
        trial.clip,
        min(loader.batch_size, len(loader.sampler)),
        collate=loader.collate_fn,
        optimizer=type(wrapper.optimizer).__name__,
        context=lambda: wrapper.optim_context(model),
    )
    if measured is None:
        return None
    on_gpu = next(model.parameters()).is_cuda
    threads = torch.get_num_threads()
    step = step_seconds(
        measured.seconds, trial.seconds, measured.batch, loader.num_workers, threads, on_gpu=on_gpu
    )
    training = step * max(0, runner.max_iters - runner.iter)
    return Forecast(measured, step, training, _validation(runner, measured, threads, on_gpu))


def _validation(runner: ActionRunner, measured: DryRun, threads: int, on_gpu: bool) -> float:
    """Seconds of the validations that are left; a forward pass is a third of a step."""
    trial = runner.trials.get('val')
    loop = runner.train_loop
    if trial is None or runner.val_loop is None or not hasattr(loop, 'val_interval'):
        return 0.0
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    at, end = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    first = max(at + 1, loop.val_begin)
    due = end // loop.val_interval - (first - 1) // loop.val_interval
    due += end >= first and end % loop.val_interval > 0
    loader = runner.val_dataloader
    views = max(1, len(trial.clip['inputs'])) if trial.clip['inputs'].ndim == 5 else 1
    forward = measured.seconds / measured.batch / 3 * views
    a_clip = step_seconds(forward, trial.seconds, 1, loader.num_workers, threads, on_gpu=on_gpu)
    clips = loader.dataset
    return float(a_clip * len(clips) / runner.world_size * max(0, due))
