"""A progress bar on a terminal."""

from __future__ import annotations

import datetime
import logging
import sys
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH

from mmaction.registry import HOOKS
from mmaction.utils.memory import peak_memory

if TYPE_CHECKING:
    from tqdm import tqdm

    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['ProgressHook']


class _AboveBar:
    """A stream that writes lines above the bars of tqdm."""

    def write(self, text: str) -> int:
        from tqdm import tqdm

        tqdm.write(text, end='')
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


class _FewStepLines(logging.Filter):
    """Shows the line of a step only where the last one was shown some time ago.

    Args:
        seconds: The time; None shows no such line, for where a bar says the same.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds, self._next = seconds, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if not text.startswith(('Epoch(train)', 'Iter(train)')) and 'eta:' not in text:
            return True
        if self.seconds is None or record.created < self._next:
            return False
        self._next = record.created + self.seconds
        return True


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show a bar with loss, learning rate, times, memory and the time left.

    Lines of the log that are no steps appear above it; the log file has all.

    Args:
        show: Whether to show it; by default where the output is a terminal.
        every: Without a bar, least seconds from one line of a step to the next on the console.
    """

    priority = 'LOW'

    def __init__(self, show: bool | None = None, every: float = 0.0) -> None:
        self.show = show
        self.every = every
        self._bar: tqdm[Any] | None = None
        self._restore: list[tuple[logging.StreamHandler[Any], Any, logging.Filter]] = []

    def before_run(self, runner: ActionRunner) -> None:
        """Decide whether there is a bar, and lead the log around it."""
        shown = sys.stdout.isatty() if self.show is None else self.show
        self._active = shown and is_main_process()
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                quiet = _FewStepLines(None if self._active else self.every)
                handler.addFilter(quiet)
                self._restore.append((handler, handler.stream, quiet))
                if self._active:
                    handler.setStream(_AboveBar())

    def after_run(self, runner: ActionRunner) -> None:
        """Give the console back."""
        self._close()
        for handler, stream, quiet in self._restore:
            handler.setStream(stream)
            handler.removeFilter(quiet)
        self._restore = []

    def _open(self, text: str, total: int, done: int = 0) -> None:
        if not self._active:
            return
        from tqdm import tqdm

        self._close()
        layout = '{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}'
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=text,
            leave=False,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=layout,
        )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def before_train_epoch(self, runner: ActionRunner) -> None:
        """Start the bar of an epoch."""
        length = len(runner.train_dataloader)
        done = runner.iter - runner.epoch * length
        if runner.max_epochs > 1:
            self._open(f'epoch {runner.epoch + 1}/{runner.max_epochs}', length, done)
        else:
            self._open('training', runner.max_iters, runner.iter)

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move on by a step."""
        if self._bar is None:  # a validation among the iterations of a run has had its place
            self.before_train_epoch(runner)
        if self._bar is None:
            return
        scalars = runner.message_hub.log_scalars

        def mean(key: str) -> float:
            return float(scalars[key].mean(min(20, len(scalars[key].data[0]))))

        # On a GPU losses are read at the log's interval.
        facts = [f'loss {mean("train/loss"):.3f}'] if 'train/loss' in scalars else []
        facts.append(f'lr {scalars["train/lr"].current():.1e}')
        if 'train/time' in scalars:
            step, data = mean('train/time'), mean('train/data_time')
            left = datetime.timedelta(seconds=int(runner.message_hub.get_info('eta') or 0))
            facts += [f'step {step:.2f} s', f'data {data:.2f} s', f'left {left}']
        facts.append(f'mem {peak_memory() / 2**30:.1f} GB')
        self._bar.set_postfix_str('  '.join(facts), refresh=False)
        self._bar.update()

    def before_val_epoch(self, runner: ActionRunner) -> None:
        """Start the bar of a validation."""
        self._open('validation', len(runner.val_dataloader))

    def before_test_epoch(self, runner: ActionRunner) -> None:
        """Start the bar of a test."""
        self._open('test', len(runner.test_dataloader))

    def _after_iter(self, runner: ActionRunner, *args: Any, **kwargs: Any) -> None:
        """Move on by a batch of a validation or a test."""
        if self._bar is not None:
            self._bar.update()

    def _after_epoch(self, runner: ActionRunner, mode: str = 'train') -> None:
        """Take the bar away."""
        self._close()
