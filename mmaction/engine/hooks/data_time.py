"""A warning when the data are too slow for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook

from mmaction.registry import HOOKS

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['DataTimeHook']


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
        data_batch: Any = None,
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
