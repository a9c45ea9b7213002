"""What a training will take, from a few steps that change nothing: time, memory, largest batch."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmaction.distributed.sync_batch_norm import CpuSyncBatchNorm
from mmaction.errors import ConfigError
from mmaction.utils.cli import available_cores
from mmaction.utils.memory import available_memory, resident_memory

from .random_state import random_state, restore_random_state

__all__ = ['DryRun', 'PeakMemory', 'dry_run', 'step_seconds', 'unchanged']

_LONG = 4.0  # seconds: a step that took longer is not repeated
_MARGIN = 0.9  # of the free memory: what fragments, and what other libraries take
_STATES = {'SGD': 1, 'Adam': 2, 'AdamW': 2, 'NAdam': 2, 'RAdam': 2, 'Adamax': 2, 'RMSprop': 1}
"""Values that optimizers keep for each trained one, where they do not depend on options."""


class DryRun(NamedTuple):
    """What steps of a batch took.

    Args:
        batch: Clips of it.
        seconds: For forward and backward pass.
        memory: Bytes of the training process, or of the GPU, while it trains.
        per_clip: Bytes for each clip of a batch.
        free: Bytes that may be taken, what the process has included.
        largest: The largest batch that fits into `free`.
    """

    batch: int
    seconds: float
    memory: int
    per_clip: int
    free: int
    largest: int


class PeakMemory(TorchDispatchMode):
    """Bytes of the tensors that are made while it is active, at most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = {id(t.untyped_storage()) for t in tree_leaves(args) if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            # A view, or an operation in place, takes no memory of its own.
            if id(storage) in known or storage in self._seen:
                continue
            size = storage.nbytes()
            self._seen[storage] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, size)
        return result


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Leave weights, gradients, statistics, mode and random state as they were."""
    random, training = random_state(), model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        model.train(training)
        restore_random_state(random)


def dry_run(
    model: Any,
    clip: dict[str, Any],
    batch: int,
    *,
    collate: Callable[[list[Any]], Any],
    optimizer: str = 'AdamW',
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> DryRun | None:
    """Train on copies of one clip, without a step of the optimizer.

    Args:
        model: The bare model, on its device.
        clip: A sample of the training set.
        batch: Clips of a batch.
        collate: Makes a batch of samples.
        optimizer: Its type, which tells the memory of its states.
        context: What a forward pass runs in, for mixed precision.

    Returns:
        None where a step by one process alone cannot be run: with BatchNorm over all ranks.

    Raises:
        ConfigError: The batch does not fit into the memory of the GPU.
    """
    together = (SyncBatchNorm, CpuSyncBatchNorm)
    if any(isinstance(module, together) for module in model.modules()):
        return None
    device = next(model.parameters()).device
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    states = trained * _STATES.get(optimizer, 2)

    def step(size: int) -> float:
        data = collate([clip] * size)
        _wait(device)
        start = time.perf_counter()
        with context():
            loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
        if loss.requires_grad:
            loss.backward()
        _wait(device)
        return time.perf_counter() - start

    def peak(size: int) -> tuple[int, float]:
        try:
            seconds, taken = _peak_of(lambda: step(size), device)
        finally:
            model.zero_grad(set_to_none=True)
        return taken, seconds

    # Two sizes give the part that grows with the batch.
    other = batch // 2 if batch > 3 else batch + 1
    at_other = None
    with unchanged(model):
        model.train()
        try:
            # One clip more than asked for may be too many.
            with suppress(torch.OutOfMemoryError) if other > batch else nullcontext():
                at_other, _ = peak(other)
            at_batch, seconds = peak(batch)
            if seconds < _LONG:
                seconds = min(step(batch) for _ in range(2))
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise ConfigError(
                f'a batch of {batch} clips does not fit '
                'into the memory of the GPU: lower train_dataloader.batch_size, or take '
                'optim_wrapper.accumulative_counts, --amp or model.backbone.use_checkpoint=True'
            ) from error
    if device.type == 'cuda':
        base = torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    else:
        base = resident_memory()
        free = available_memory() + base
    memory = base + states + at_batch
    if at_other is None:
        per_clip, largest = at_batch // batch, batch
    else:
        per_clip = max(1, (at_batch - at_other) // (batch - other))
        largest = batch + int((free * _MARGIN - memory) // per_clip)
    return DryRun(batch, seconds, memory, per_clip, free, max(largest, 0))


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _peak_of(step: Callable[[], float], device: torch.device) -> tuple[float, int]:
    """What a step returns, and the bytes that it takes beyond those in use before."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds = step()
        return seconds, torch.cuda.max_memory_allocated(device) - before
    with PeakMemory() as memory:
        seconds = step()
    return seconds, memory.peak


def step_seconds(
    compute: float, read: float, batch: int, workers: int, threads: int, *, on_gpu: bool
) -> float:
    """Seconds from one step to the next, while other processes read the clips.

    Args:
        compute: Seconds that the step computes.
        read: Seconds that reading a clip takes.
        batch: Clips of a step.
        workers: Processes that read; 0: the step waits for its clips.
        threads: Cores that the step computes on.
        on_gpu: Whether it computes on a GPU, so that all cores are left for reading.
    """
    reading = read * batch
    if workers == 0:
        return compute + reading
    cores = available_cores()
    readers = min(workers, cores)
    if on_gpu:
        return max(compute, reading / readers)
    work = compute * min(threads, cores) + reading
    return max(compute, reading / readers, work / cores)
