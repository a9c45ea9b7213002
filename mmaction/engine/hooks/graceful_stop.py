"""Ending a run on Ctrl-C or SIGTERM with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook

from mmaction.distributed.collectives import broadcast_object
from mmaction.engine.runner.loops import stop_asked
from mmaction.registry import HOOKS

from .checkpoint_hook import CheckpointHook

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['StopHook']


@HOOKS.register_module()
class StopHook(Hook):
    """Save and end after the current step when Ctrl-C, SIGTERM or SIGUSR1 comes.

    Slurm announces the end of a job by SIGTERM (or by what `--signal` says),
    torchrun passes Ctrl-C on to all processes. A second Ctrl-C ends at once.
    """

    priority = 'VERY_LOW'
    signals = ('SIGINT', 'SIGTERM', 'SIGUSR1')

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._first = 0.0

    def before_train(self, runner: ActionRunner) -> None:
        """Take the signals over, which Python allows in the main thread alone."""
        runner.stop_signal = None
        if threading.current_thread() is not threading.main_thread():
            return
        for name in self.signals:
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._note(runner))

    def _note(self, runner: ActionRunner) -> Callable[[int, FrameType | None], None]:
        def handler(number: int, _frame: FrameType | None) -> None:
            now = time.monotonic()
            # torchrun and the terminal may both send the first one.
            if runner.stop_signal is not None and now - self._first > 2:
                self._restore()
                raise KeyboardInterrupt
            if runner.stop_signal is None:
                self._first = now
                runner.stop_signal = number

        return handler

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train_step(self, runner: ActionRunner) -> None:
        """Stop between two steps, once a signal has come to any process."""
        if not stop_asked(runner):
            return
        runner.stop_signal = runner.stop_signal or signal.SIGTERM
        runner.train_loop.stop_training = True

    def after_train(self, runner: ActionRunner) -> None:
        """Save where the run stopped, and give the signals back."""
        self._restore()
        if runner.stop_signal is None:
            return
        name = signal.Signals(runner.stop_signal).name
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                path = hook.save_now(runner)
                # Slurm ends all ranks once the first one has ended: none may while rank 0 writes.
                broadcast_object(None)
                runner.logger.warning(
                    f'{name}: stopped after step {runner.iter}, saved {path}; --resume goes on'
                )
