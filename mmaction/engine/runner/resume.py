"""Resuming: the checkpoint to take, and each part of a run set to where it stood.

A run that was stopped anywhere, also within an epoch or between two steps whose
gradients add up, ends with the very weights of an unbroken one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import _ParamScheduler
from torch import nn
from torch.optim import Optimizer

from mmaction.distributed.collectives import broadcast_object
from mmaction.engine.optimizers.schedule import run_up_schedulers
from mmaction.errors import CheckpointError, ConfigError
from mmaction.utils.checkpoint_reading import load_checkpoint_file
from mmaction.utils.remote import exists, is_remote, uri_of

from .checkpoint import POINTER, checkpoints_by_age, find_checkpoint
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = [
    'check_optimizer_state',
    'check_resumable',
    'find_resume_point',
    'move_position',
    'names_checkpoint',
    'resume_message_hub',
    'resume_rank_state',
    'resume_schedulers',
    'set_resume',
]

ResumePoint = tuple[Path, dict[str, Any]]
"""A checkpoint file and what is in it."""

_OF_THIS_RUN = ('cfg', 'experiment_name', 'mmengine_version', 'seed')


def set_resume(cfg: Config, resume: str | None) -> None:
    """Set in a config what a run starts from.

    Args:
        cfg: The config, with its `work_dir`.
        resume: A checkpoint; 'auto' for the last one of the work dir, if there
            is one; None to start anew. A worker that torchrun starts again goes on
            with the last checkpoint of the work dir, whatever it resumed at first; so does
            a job that Slurm starts again, if it resumes at all.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
    """
    by_torchrun, by_slurm = (
        int(os.environ.get(f'{name}_RESTART_COUNT', '0')) for name in ('TORCHELASTIC', 'SLURM')
    )
    # Without the pointer the run has saved nothing yet: files are of older runs.
    has_saved = Path(cfg.work_dir, POINTER).is_file()
    if has_saved and (by_torchrun or (by_slurm and resume is not None)):
        resume = 'auto'
    if resume is None:
        return
    if resume == 'auto':
        if find_checkpoint(cfg.work_dir) is not None:
            cfg.resume, cfg.load_from = True, None
        elif (found := find_checkpoint(_remote_folder(cfg))) is not None:
            cfg.resume, cfg.load_from = True, uri_of(found)
        return
    if not exists(resume) or Path(resume).is_dir():
        raise FileNotFoundError(f'--resume: there is no checkpoint {resume}')
    cfg.resume, cfg.load_from = True, resume


def _remote_folder(cfg: Config) -> str:
    """Where a run writes its checkpoints if not into its work dir, which a new machine lacks."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = str(hook.get('out_dir') or '')
    return f'{folder}/{Path(cfg.work_dir).name}' if is_remote(folder) else cfg.work_dir


def find_resume_point(
    work_dir: str | Path, load_from: str | None, logger: Logger
) -> ResumePoint | None:
    """The checkpoint to resume from: the one that is named, else the last that can be read.

    Args:
        work_dir: The work dir of the run. All ranks take the file that rank 0 finds.
        load_from: A checkpoint, or None to look into the work dir.
        logger: Told of checkpoints that are passed over.

    Returns:
        The file and its content; None where the work dir has no checkpoint.

    Raises:
        CheckpointError: The file, or every file of the work dir, cannot be read.
    """
    if load_from is not None:
        return Path(load_from), load_checkpoint_file(load_from)
    # Each rank listing the folder for itself might see another newest file on a network disk, and
    # ranks with different weights train on without any error.
    found: list[Path] = broadcast_object(checkpoints_by_age(work_dir))
    for path in found:
        try:
            return path, load_checkpoint_file(path)
        except CheckpointError as error:
            logger.warning(f'{error}; the checkpoint before it is tried')
    if found:
        raise CheckpointError(f'none of the {len(found)} checkpoints in {work_dir} loads')
    logger.info(f'nothing to resume in {work_dir}: starts from the beginning')
    return None


@contextmanager
def names_checkpoint(filename: str) -> Iterator[None]:
    """Turn what a damaged state of a run raises within a block into an error that names its file.

    Raises:
        CheckpointError: Instead of a `KeyError`, `TypeError` and so on.
    """
    try:
        yield
    except (CheckpointError, ConfigError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [''])[0][:200]
        raise CheckpointError(
            f'{filename}: the state of its run is damaged or of another model '
            f'({type(error).__name__}: {line}); to start from its weights set load_from instead'
        ) from error


def check_optimizer_state(optimizer: Optimizer) -> None:
    """Hold what an optimizer has loaded against its parameters, before the first step.

    Raises:
        ValueError: A moment has another shape than its parameter.
    """
    for parameter, state in optimizer.state.items():
        for name in ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer'):
            moment = (state or {}).get(name)  # None in a ZeRO rank that holds none
            if moment is not None and getattr(moment, 'shape', None) != parameter.shape:
                raise ValueError(f'{name} does not have the shape {tuple(parameter.shape)}')


def check_resumable(checkpoint: Mapping[str, Any], filename: str) -> None:
    """Raise `CheckpointError` for a checkpoint that holds weights only, and no run."""
    meta = checkpoint.get('meta') or {}
    lacking = [key for key in ('epoch', 'iter') if key not in meta]
    lacking += [] if 'optimizer' in checkpoint else ['optimizer']
    if lacking:
        raise CheckpointError(
            f'{filename} holds no state of a run to resume (it lacks {", ".join(lacking)}); to '
            'start from its weights set load_from instead'
        )


def resume_message_hub(hub: MessageHub, state: Mapping[str, Any]) -> None:
    """Give a message hub the logged values of a checkpoint, and what hooks noted there."""
    for key, value in state.get('log_scalars', {}).items():
        if isinstance(value, dict):
            value = HistoryBuffer(value['values'].numpy(), value['counts'].numpy())
        hub.log_scalars[key] = value
        hub._resumed_keys[key] = True
    for key, value in state.get('runtime_info', {}).items():
        # What describes this run and not its progress must not come back from the one before.
        if key not in _OF_THIS_RUN:
            hub.update_info(key, value)


def move_position(
    loop: EpochBasedTrainLoop | IterBasedTrainLoop,
    schedulers: Sequence[_ParamScheduler],
    meta: Mapping[str, Any],
    world_size: int,
    logger: Logger,
) -> bool:
    """Set the epoch and step of the training loop to those of a checkpoint.

    Where an epoch has another number of steps than when the checkpoint was
    written, the step is that at which as many clips of the epoch are used, and
    the schedulers are run up to there from their start.

    Args:
        loop: The training loop.
        schedulers: Parameter schedulers, not yet stepped.
        meta: `epoch` and `iter` of the checkpoint and, where it has them,
            `steps_per_epoch` and `clips_per_step`.
        world_size: Number of ranks now.
        logger: Told where the step is another one.

    Returns:
        Whether the schedulers were run up, so that their saved state, which
        counts other steps, is of no use.
    """
    epoch, step = loop._epoch, loop._iter = meta['epoch'], meta['iter']
    steps = len(loop.dataloader)
    if isinstance(loop, IterBasedTrainLoop):
        return False
    before = meta.get('steps_per_epoch') or _steps_per_epoch(epoch, step, steps)
    if before == steps:
        return False
    # After a whole epoch, which is all that other frameworks' checkpoints tell, nothing is left.
    per_step = (loop.dataloader.batch_size or 1) * world_size
    clips = (step - epoch * before) * meta.get('clips_per_step', per_step)
    loop._iter = epoch * steps + min(clips // per_step, steps)
    of = f' of {meta["clips_per_step"]}' if 'clips_per_step' in meta else ''
    logger.warning(
        f'an epoch has {steps} steps of {per_step} clips now and had {before}{of}: step {step} '
        f'becomes {loop._iter}'
    )
    run_up_schedulers(schedulers, steps, loop._epoch, min(loop._iter, loop.max_iters))
    return True


def _steps_per_epoch(epoch: int, step: int, now: int) -> int:
    """The steps of an epoch of a run that did not note them, as mmengine's and mmcv's do not.

    Raises:
        CheckpointError: It stopped within an epoch of another length.
    """
    if epoch * now <= step <= (epoch + 1) * now:
        return now
    if epoch and step % epoch == 0:
        return step // epoch
    raise CheckpointError(
        f'the checkpoint was written at step {step} within epoch {epoch + 1} and does not tell '
        f'how long its epochs were; they have {now} steps now. Resume with the batch size and '
        'number of GPUs of that run, or start from its weights: load_from'
    )


def resume_schedulers(
    schedulers: Sequence[_ParamScheduler],
    states: object,
    loop: EpochBasedTrainLoop | IterBasedTrainLoop,
) -> bool:
    """Set schedulers to the states of a checkpoint, or else by the step of the run.

    Args:
        schedulers: Parameter schedulers, not yet stepped.
        states: What the checkpoint has of them, if anything.
        loop: The training loop, at the step to resume from.

    Returns:
        Whether the states were those of these schedulers.
    """
    known = [set(scheduler.state_dict()) for scheduler in schedulers]
    if isinstance(states, Sequence) and [set(state) for state in states] == known:
        for scheduler, state in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        return True
    steps = min(loop._iter, loop.max_iters)
    run_up_schedulers(schedulers, len(loop.dataloader), loop._epoch, steps)
    return False


def resume_rank_state(
    states: Sequence[Mapping[str, Any]], rank: int, world_size: int, model: nn.Module
) -> dict[str, Any] | None:
    """Give a model the gradients that this rank had not used yet.

    Args:
        states: What each rank saved (`rank_state`).
        rank: This one.
        world_size: Number of ranks now.
        model: The bare model.

    Returns:
        The random state to start the next step with (`restore_random_state`);
        None if another number of ranks wrote the checkpoint, whose states then
        belong to nobody.
    """
    # Gradients of half a window and random states belong to a rank's own clips. With another number
    # of ranks the clips are dealt out anew: the window starts over, which is no longer bit-exact.
    if len(states) != world_size:
        return None
    mine = states[rank]
    parameters = dict(model.named_parameters())
    for name, gradient in (mine.get('gradients') or {}).items():
        parameters[name].grad = gradient.to(parameters[name].device)
    state: dict[str, Any] | None = mine['random']
    return state
