"""What bounds a training, the data or the model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH

from mmaction.engine.step_values import reads_now
from mmaction.engine.throughput import Throughput, throughput
from mmaction.registry import HOOKS

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['DataTimeHook', 'ThroughputHook']


@HOOKS.register_module()
class DataTimeHook(Hook):
    """Say at the end of an epoch if much of it was spent waiting for data.

    Args:
        threshold: Share of the time above which it is said.
        warm_up: Steps at the start of each epoch that do not count: workers
            start.
    """

    # After the timer, before the log of the epoch ends.
    priority = 'LOW'

    def __init__(self, threshold: float = 0.3, warm_up: int = 5) -> None:
        self.threshold = threshold
        self.warm_up = warm_up
        self._waited = self._total = 0.0
        self._told = 0.0

    def before_train_epoch(self, runner: ActionRunner) -> None:
        """Start anew."""
        self._waited = self._total = 0.0
        self._steps = 0

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Add the times of a step, as mmengine's timer took them."""
        self._steps += 1
        scalars = runner.message_hub.log_scalars
        if self._steps > self.warm_up and 'train/time' in scalars:
            self._waited += float(scalars['train/data_time'].current())
            self._total += float(scalars['train/time'].current())

    def after_train_epoch(self, runner: ActionRunner) -> None:
        """Tell, once and again only when it has become much worse."""
        share = self._waited / self._total if self._total else 0.0
        if share > max(self.threshold, self._told + 0.2):
            self._told = share
            workers = getattr(runner.train_dataloader, 'num_workers', 0)
            runner.logger.warning(
                f'{share:.0%} of the time is spent waiting for data: give '
                f'train_dataloader.num_workers more than {workers}, or make the videos smaller '
                'beforehand (tools/data/prepare_videos.py)'
            )


class _Stopwatch:
    """Seconds that the model computes: of the host, or of the GPU by events that nobody awaits."""

    def __init__(self) -> None:
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Start or end of a step."""
        if torch.cuda.is_available():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def read(self) -> float:
        """The seconds since it was last read; waits for the GPU."""
        pairs = list(zip(self._marks[::2], self._marks[1::2], strict=False))
        self._marks = self._marks[2 * len(pairs) :]
        if not torch.cuda.is_available():
            return float(sum(end - start for start, end in pairs))
        for _, end in pairs[-1:]:
            end.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in pairs)) / 1000


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Say at the log's interval how fast loader and model are, and which of them bounds.

    It is said again only where something has changed: which bounds, or a rate by a third.

    Args:
        interval: Steps over which rates are taken; on a GPU, where reading makes it wait, they
            are read at the reading point after these.
        warm_up: Steps at the start of each epoch that do not count.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 20, warm_up: int = 5) -> None:
        self.interval = interval
        self.warm_up = warm_up
        self._told: Throughput | None = None

    def before_train_epoch(self, runner: ActionRunner) -> None:
        """Start anew."""
        self._steps = -self.warm_up
        self._clips, self._waited = 0, 0.0
        self._watch = _Stopwatch()
        self._started = self._last = time.perf_counter()

    def before_train_iter(
        self, runner: ActionRunner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Note how long the data took."""
        if self._steps >= 0:
            self._waited += time.perf_counter() - self._last
            self._watch.mark()

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Note the end of a step; tell at a reading point once there are enough."""
        now = time.perf_counter()
        if self._steps >= 0:
            self._watch.mark()
            loader = runner.train_dataloader
            self._clips += loader.batch_size or 1
            enough = self._steps + 1 >= self.interval or batch_idx + 1 == len(loader)
            if enough and reads_now(runner, batch_idx):
                computed = self._watch.read()
                now = time.perf_counter()
                seconds = now - self._started
                rates = throughput(self._clips, seconds, self._waited, computed, loader.num_workers)
                self._tell(runner, rates)
                self._steps, self._clips, self._waited = -1, 0, 0.0
        self._steps += 1
        if self._steps == 0:
            self._started = now
        self._last = now

    def _tell(self, runner: ActionRunner, rates: Throughput | None) -> None:
        if rates is None or (self._told is not None and not _differ(self._told, rates)):
            return
        self._told = rates
        runner.logger.info(str(rates))


def _differ(a: Throughput, b: Throughput) -> bool:
    moved = any(abs(x - y) > max(x, y) / 3 for x, y in ((a.loader, b.loader), (a.model, b.model)))
    return moved or a.loader_bounds != b.loader_bounds
