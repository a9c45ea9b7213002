"""Training loops that can start at any step of any epoch.

They take the names of mmengine's loops in the registry of mmaction, so configs
need not know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from mmengine.runner import Runner
from mmengine.runner import TestLoop as _TestLoop
from mmengine.runner import ValLoop as _ValLoop
from mmengine.runner.amp import autocast
from mmengine.runner.loops import _update_losses
from torch.utils.data import DataLoader

from mmaction.distributed.collectives import any_rank
from mmaction.registry import LOOPS

from .dataloader_workers import start_iterator
from .device_batches import device_batches
from .random_state import continue_random_state

__all__ = [
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'TestLoop',
    'ValLoop',
    'batches_from',
    'predict_in_full_batches',
    'stop_asked',
]

_TEST_DTYPES = {'off': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def stop_asked(runner: Runner) -> bool:
    """Whether StopHook has noted a signal in any rank; mmengine's own runner may have no hook."""
    return any_rank(getattr(runner, 'stop_signal', None) is not None)


def batches_from(loader: DataLoader[Any], epoch: int, done: int) -> Iterator[tuple[int, Any]]:
    """The batches of an epoch after the first `done`, with their index.

    A sampler with `skip` (`EpochSampler`) passes over what was used without
    reading it; with any other the batches are read again and dropped.
    """
    sampler: Any = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)
    if done >= len(loader):
        return
    skipped = 0
    if done and hasattr(sampler, 'skip') and loader.batch_size is not None:
        # The sampler counts over all processes.
        sampler.skip(done * loader.batch_size * getattr(sampler, 'world_size', 1))
        skipped = done
    # Why not always read and drop? Late in an epoch of Kinetics that would decode for hours.
    batches = enumerate(start_iterator(loader), start=skipped)
    used = ((index, batch) for index, batch in batches if index >= done)
    yield from device_batches(used, get_device())


@LOOPS.register_module()
class EpochBasedTrainLoop(_EpochBasedTrainLoop):
    """mmengine's loop over epochs, which also resumes within an epoch.

    A validation that was due when the run ended is made up for.
    """

    def run(self) -> torch.nn.Module:
        """Train until the last epoch or until a hook sets `stop_training`."""
        self.runner.call_hook('before_train')
        continue_random_state(self.runner)
        # A run killed between the last step of an epoch and its validation has saved the step, not
        # the metrics. Without this a resumed run would have one validation fewer.
        if self._epoch and self._iter == self._epoch_start(self._epoch):
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            if self._iter == self._epoch_start(self._epoch + 1):
                self._epoch += 1
            if not self.stop_training:
                self._validate_if_due()
        self.runner.call_hook('after_train')
        model: torch.nn.Module = self.runner.model
        return model

    def run_epoch(self) -> None:
        """Run what is left of the epoch, and its end unless training stops before."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # Steps are micro-steps: a window of gradient accumulation may be open here, even across
        # the end of an epoch. Its gradients are part of a rank's saved state.
        done = self._iter - self._epoch_start(self._epoch)
        for index, batch in batches_from(self.dataloader, self._epoch, done):
            self.run_iter(index, batch)
            # Not after_train_iter: mmengine calls it before it counts the step, so a checkpoint
            # saved there would be one step short, and the step be taken twice after resuming.
            self.runner.call_hook('after_train_step')
            if self.stop_training:
                break
        if self._iter == self._epoch_start(self._epoch + 1):
            self.runner.call_hook('after_train_epoch')

    def _epoch_start(self, epoch: int) -> int:
        return epoch * len(self.dataloader)

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if self._epoch >= self.val_begin and (
            self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        ):
            _validate_once(self)


@LOOPS.register_module()
class IterBasedTrainLoop(_IterBasedTrainLoop):
    """mmengine's loop over steps; epochs of the sampler follow one another without a pause."""

    def run(self) -> torch.nn.Module:  # type: ignore[override]  # mmengine says None, gives it
        """Train until the last step or until a hook sets `stop_training`."""
        self.runner.call_hook('before_train')
        continue_random_state(self.runner)
        self.runner.call_hook('before_train_epoch')
        self._validate_if_due()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self.runner.call_hook('after_train_step')
            if not self.stop_training:
                self._validate_if_due()
        if self._iter >= self._max_iters:
            self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        model: torch.nn.Module = self.runner.model
        return model

    def _batches(self) -> Iterator[Any]:
        sampler = self.dataloader.sampler
        if isinstance(sampler, InfiniteSampler):
            sampler.skip(self._iter * self.dataloader.batch_size)
            yield from device_batches(start_iterator(self.dataloader), get_device())
        length = len(self.dataloader)
        epoch, done = divmod(self._iter, length)
        while True:
            for _, batch in batches_from(self.dataloader, epoch, done):
                yield batch
            epoch, done = epoch + 1, 0

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if self._iter >= max(self.val_begin, 1) and (
            self._iter % self.val_interval == 0 or self._iter == self._max_iters
        ):
            _validate_once(self)


def _validate_once(loop: EpochBasedTrainLoop | IterBasedTrainLoop) -> None:
    """Validate, unless the checkpoint that was resumed is of after this validation.

    A stop signal ends it early; a resumed run then does it again.
    """
    runner, hub = loop.runner, loop.runner.message_hub
    before = hub.get_info('last_validated_iter')
    if runner.val_loop is None or before == loop.iter:
        return
    # Noted first: the best checkpoint is saved within the validation.
    hub.update_info('last_validated_iter', loop.iter)
    runner.val_loop.run()
    if stop_asked(runner):
        hub.update_info('last_validated_iter', before)
        runner.call_hook('after_train_step')


def predict_in_full_batches(
    predict: Callable[[Any], list[Any]], batch: Any, loop: _ValLoop | _TestLoop
) -> list[Any]:
    """The predictions of a batch; a compiled model gets a last, smaller batch filled up.

    Another shape would be compiled once more. The rows that fill it repeat the last clip, and
    their predictions are dropped.

    Args:
        predict: A model's `val_step` or `test_step`.
        batch: What the loader gave.
        loop: The loop, which knows the loader and whether the run is compiled.
    """
    loader = loop.dataloader
    compiled = getattr(loop.runner, 'compile_options', None) is not None
    inputs = batch.get('inputs') if isinstance(batch, dict) else None
    if not compiled or len(loader) < 2 or not isinstance(inputs, list) or not loader.batch_size:
        return predict(batch)
    missing = loader.batch_size - len(inputs)
    last = batch['data_samples'][-1]
    samples = [*batch['data_samples'], *(last.clone() for _ in range(missing))]
    padded = {**batch, 'inputs': inputs + inputs[-1:] * missing, 'data_samples': samples}
    return predict(padded)[: len(inputs)]


@LOOPS.register_module()
class ValLoop(_ValLoop):
    """mmengine's loop, which a stop signal ends early and without metrics."""

    def run(self) -> dict[str, float]:
        """Validate; returns the metrics, none if a signal came."""
        runner = self.runner
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        runner.model.eval()
        shared = self._batches_of_all()
        for index, batch in enumerate(
            device_batches(start_iterator(self.dataloader), get_device())
        ):
            self.run_iter(index, batch)
            if index < shared and stop_asked(runner):
                break
        stopped = stop_asked(runner)
        if stopped:
            for metric in self.evaluator.metrics:
                metric.results.clear()
        metrics = {} if stopped else self.evaluator.evaluate(len(self.dataloader.dataset))
        runner.call_hook('after_val_epoch', metrics=metrics)
        runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: object) -> None:
        """Validate on one batch."""
        runner = self.runner
        runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = predict_in_full_batches(runner.model.val_step, data_batch, self)
        outputs, self.val_loss = _update_losses(outputs, self.val_loss)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _batches_of_all(self) -> int:
        """How many batches every process has; some may have one more."""
        clips = len(self.dataloader.dataset) // self.runner.world_size
        batches: int = -(-clips // (self.dataloader.batch_size or 1))
        return batches


@LOOPS.register_module()
class TestLoop(_TestLoop):
    """mmengine's loop, with a choice of the precision of the forward pass.

    Args:
        runner: The runner.
        dataloader: The loader, or its config.
        evaluator: The evaluator, or the config of its metrics.
        fp16: mmengine's way to say precision='fp16'.
        precision: 'off' (fp32), 'bf16' or 'fp16', by autocast.

    Raises:
        ValueError: `precision` is none of these.
    """

    __test__ = False  # not a test class of pytest

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        precision: str = 'off',
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.precision = 'fp16' if fp16 else precision
        if self.precision not in _TEST_DTYPES:
            raise ValueError(
                f'test_cfg.precision={precision!r} must be one of {", ".join(_TEST_DTYPES)}'
            )

    def run(self) -> dict[str, float]:
        """Test; returns the metrics. Unlike in mmengine's, a GPU gets batches ahead."""
        runner = self.runner
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        batches = device_batches(start_iterator(self.dataloader), get_device())
        for index, batch in enumerate(batches):
            self.run_iter(index, batch)
        metrics: dict[str, float] = self.evaluator.evaluate(len(self.dataloader.dataset))
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: object) -> None:
        """Test one batch."""
        runner, dtype = self.runner, _TEST_DTYPES[self.precision]
        runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        with torch.autocast(get_device(), dtype, enabled=dtype is not None):
            outputs = predict_in_full_batches(runner.model.test_step, data_batch, self)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
