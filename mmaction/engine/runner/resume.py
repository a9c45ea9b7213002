"""Where a run stands, also when it goes on with another batch size or number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .loops import IterBasedTrainLoop

if TYPE_CHECKING:
    from .runner import ActionRunner

__all__ = ['move_position']


def move_position(runner: ActionRunner, meta: dict[str, Any]) -> bool:
    """Set the epoch and step of the training loop to those of a checkpoint.

    Where an epoch has another number of steps than when the checkpoint was
    written, the step is that at which as many clips of the epoch are used, and
    the schedulers are run up to there from their start.

    Args:
        runner: The runner, its schedulers built and not yet stepped.
        meta: `epoch` and `iter` of the checkpoint and, where it has them,
            `steps_per_epoch` and `clips_per_step`.

    Returns:
        Whether the schedulers were run up, so that their saved state, which
        counts other steps, is of no use.
    """
    loop = runner.train_loop
    loop._epoch, loop._iter = meta['epoch'], meta['iter']
    steps = len(runner.train_dataloader)
    before = meta.get('steps_per_epoch', steps)
    if before == steps or isinstance(loop, IterBasedTrainLoop):
        return False
    clips = (meta['iter'] - meta['epoch'] * before) * meta['clips_per_step']
    per_step = (runner.train_dataloader.batch_size or 1) * runner.world_size
    loop._iter = meta['epoch'] * steps + min(clips // per_step, steps)
    runner.logger.warning(
        f'an epoch has {steps} steps of {per_step} clips now and had {before} of '
        f'{meta["clips_per_step"]}: step {meta["iter"]} becomes {loop._iter}'
    )
    _run_up_schedulers(runner, loop._epoch, loop._iter)
    return True


def _run_up_schedulers(runner: ActionRunner, epochs: int, steps: int) -> None:
    """Step the schedulers as a run to this position has done."""
    per_epoch = len(runner.train_dataloader)
    for step in range(1, steps + 1):
        for scheduler in runner.param_schedulers or ():
            if not scheduler.by_epoch:
                scheduler.step()
        if step % per_epoch == 0 and step // per_epoch <= epochs:
            for scheduler in runner.param_schedulers or ():
                if scheduler.by_epoch:
                    scheduler.step()
