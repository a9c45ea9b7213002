"""One clip of each split, read, put through the model and measured before the first step.

What a list, a pipeline and a model say of themselves may be in order and still not fit
together. A trial finds it in a second, instead of a worker in the middle of a run.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import is_main_process
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmaction.datasets.samplers import SampleKey
from mmaction.distributed.collectives import broadcast_object
from mmaction.errors import ConfigError, DivergedError, UnreadableVideoError
from mmaction.evaluation.metrics import ClipMetric
from mmaction.utils.cli import describe, raised_in
from mmaction.utils.isolated_call import CallCrashed, CallTimedOut, isolated_call

from .loops import EpochBasedTrainLoop
from .random_state import random_state, restore_random_state

__all__ = ['Trial', 'check_loader', 'try_clips']

_QUICK = 0.05  # seconds: a clip that was read faster is not read again to take the time
_ENOUGH = 0.2  # seconds of reading, by which its time is known well enough
SECONDS = 600
"""How long reading one clip may take, replacements of unreadable ones included."""


class Trial(NamedTuple):
    """A clip that has gone through the model.

    Args:
        clip: The sample.
        seconds: Time that reading it took.
    """

    clip: Any
    seconds: float


def check_loader(split: str, loader: DataLoader[Any], loop: object) -> None:
    """Refuse a loader that gives no batch, or that never ends.

    Args:
        split: 'train', 'val' or 'test'.
        loader: Its loader.
        loop: The loop that takes the batches.

    Raises:
        ConfigError: It does.
    """
    place = f'{split}_dataloader'
    sampler = loader.sampler
    if isinstance(sampler, InfiniteSampler):
        if split != 'train' or isinstance(loop, EpochBasedTrainLoop):
            raise ConfigError(
                f'{place}.sampler: an InfiniteSampler never ends, so an epoch would not either; '
                'take type=EpochSampler, or for training train_cfg.by_epoch=False with max_iters'
            )
        return
    if loader.batch_size is None and loader.batch_sampler is None:
        raise ConfigError(f'{place}.batch_size: expected an integer, found None')
    if not len(loader) and _len(loader.dataset):
        raise ConfigError(
            f'{place}.batch_size={loader.batch_size} with drop_last=True leaves no batch of '
            f'{_len(sampler)} clips: lower batch_size, or set drop_last=False'
        )
    if split != 'train' and loader.drop_last:
        raise ConfigError(f'{place}.drop_last=True would leave the last clips out of the metrics')


def _len(clips: object) -> int:
    """The length of a dataset or sampler, of whose types torch does not say that they have one."""
    assert isinstance(clips, Sized)
    return len(clips)


def try_clips(
    model: nn.Module, loops: dict[str, Any], seed: int, best_by: Sequence[tuple[str, str]] = ()
) -> dict[str, Trial]:
    """Read a clip of each split, put it through the model and measure what it predicts.

    The first process does it, all hear of it. Weights, statistics and random state stay as
    they are.

    Args:
        model: The bare model.
        loops: Loops by the names of their splits.
        seed: Seed of the run.
        best_by: The metrics by which hooks compare validations, each behind the argument of the
            config that names it.

    Returns:
        In the first process, the clips that could be read by the names of their splits.

    Raises:
        ConfigError: The pipeline fails, the model cannot take what it gives, or the metrics
            cannot take what the model predicts or are none of `best_by`.
    """
    problem, cause, trials = None, None, {}
    if is_main_process():
        try:
            for split, loop in loops.items():
                trial = _read(split, loop.dataloader, seed)
                if trial is not None:
                    predicted = _forward(split, loop.dataloader, trial.clip, model)
                    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', None)
                    # Loops and models of the user's may do without an evaluator, or samples.
                    if metrics and isinstance(predicted, list) and predicted:
                        wanted = best_by if split == 'val' else ()
                        _measure(split, metrics, predicted[0], wanted)
                    trials[split] = trial
        except (ConfigError, UnreadableVideoError) as error:
            problem, cause = str(error), error
    problem = broadcast_object(problem)
    if problem:
        raise ConfigError(problem) from cause
    return trials


def _read(split: str, loader: DataLoader[Any], seed: int) -> Trial | None:
    """The first sample of a split, read at arm's length; None if that crashed or hung.

    A single damaged file is not a fault of the set-up: the run itself counts it.
    """
    dataset = loader.dataset

    def read() -> Trial:
        seconds: list[float] = []
        # The first clip also waits for a library to load, and any of them for a busy machine.
        while len(seconds) < 2 or (len(seconds) < 5 and sum(seconds) < _ENOUGH):
            start = time.perf_counter()
            clip = dataset[SampleKey(0, 0, seed)]
            seconds.append(time.perf_counter() - start)
            if seconds[0] < _QUICK:
                break
        return Trial(clip, min(seconds))

    isolated = isolated_call(read, SECONDS) if sys.platform == 'linux' else None
    try:
        return read() if isolated is None else isolated()
    except (UnreadableVideoError, CallCrashed, CallTimedOut):
        return None
    except Exception as error:
        raise ConfigError(
            f'{split}_dataloader: its pipeline fails on the first clip: {_named(error)}'
        ) from error
    finally:
        if isolated is not None:
            isolated.close()


def _frames_at_once(model: Any, views: torch.Tensor) -> int:
    """Rows of (views, C, T, H, W) or (frames, C, H, W) that a model takes at least."""
    if views.ndim != 4:
        return 1
    parts = (model.backbone, getattr(model, 'cls_head', None))
    return max(getattr(part, 'num_segments', None) or 1 for part in parts)


def _forward(split: str, loader: DataLoader[Any], clip: Any, model: Any) -> list[Any]:
    """What the model predicts of a clip; nothing of one to train with."""
    given = clip.get('inputs') if isinstance(clip, dict) else None
    shape = f' of shape {tuple(given.shape)}' if isinstance(given, torch.Tensor) else ''
    if isinstance(given, torch.Tensor) and not given.numel():
        raise ConfigError(f'{split}_dataloader: its pipeline leaves nothing of a clip{shape}')
    state, training = random_state(), model.training
    predicted: list[Any] = []
    # Not before there is a model: importing all of them takes seconds.
    from mmaction.models.recognizers.base import BaseRecognizer

    model.eval()
    try:
        batch = loader.collate_fn([clip])
        if split != 'train' and isinstance(model, BaseRecognizer):
            # One view tells as much as thirty.
            inputs = batch['inputs']
            batch['inputs'] = [views[: _frames_at_once(model, views)] for views in inputs]
        with torch.no_grad(), _single_values(model) as single:
            # As in mmengine's steps: a model of the user's may take batches that are no dicts.
            data = model.data_preprocessor(batch, split == 'train')
            if split == 'train':
                model.parse_losses(model._run_forward(data, mode='loss'))  # noqa: SLF001 (as train_step)
            else:
                predicted = model._run_forward(data, mode='predict')  # noqa: SLF001 (as val_step)
    except Exception as error:
        raise ConfigError(
            f'the model cannot take the first {split} clip{shape}: {_named(error)}'
        ) from error
    finally:
        model.train(training)
        restore_random_state(state)
    if split == 'train' and single and _smallest_batch(loader) == 1:
        raise ConfigError(
            f'train_dataloader: the last batch of an epoch holds one clip, of which BatchNorm '
            f'({single[0]}) has no statistics: set train_dataloader.drop_last=True, or another '
            'batch_size'
        )
    return predicted


def _measure(
    split: str, metrics: Sequence[object], predicted: Any, best_by: Sequence[tuple[str, str]]
) -> None:
    """Have the metrics take a prediction, and look for those of `best_by` among them."""
    # As mmengine's evaluator does.
    sample = predicted.to_dict() if isinstance(predicted, BaseDataElement) else predicted
    names: list[str] = []
    are_all = True
    for metric in metrics:
        # One of the user's, derived from ours or not, may need more than one clip.
        is_ours = type(metric).__module__.startswith('mmaction.')
        if not (is_ours and isinstance(metric, ClipMetric)):
            are_all = False
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of classes without a clip
                found = metric.try_clip(sample)
        except DivergedError:  # the run may get over it
            found = None
        except ValueError as error:
            raise ConfigError(
                f'{split}_evaluator: {type(metric).__name__} cannot take the first {split} clip: '
                f'{describe(error)}'
            ) from error
        names += found or ()
        are_all = are_all and found is not None
    for place, key in best_by if are_all else ():
        if key not in ('auto', *names):
            raise ConfigError(f'{place}: validation gives no "{key}", but {", ".join(names)}')


def _named(error: Exception) -> str:
    plain = isinstance(error, (ValueError, OSError))
    text = describe(error) if plain else f'{type(error).__name__}: {describe(error)}'
    place = raised_in(error)
    return f'{text} ({place})' if place else text


@contextmanager
def _single_values(model: nn.Module) -> Iterator[list[str]]:
    """Names of the BatchNorm layers that see a single value per channel of one clip."""
    found: list[str] = []
    handles = [
        module.register_forward_pre_hook(_remember(name, found))
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _remember(name: str, found: list[str]) -> Any:
    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            found.append(name)

    return hook


def _smallest_batch(loader: DataLoader[Any]) -> int:
    size = loader.batch_size or 1
    rest = _len(loader.sampler) % size
    return size if loader.drop_last or not rest else rest
