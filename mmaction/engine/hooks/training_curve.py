"""The training curve in the work dir."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmaction.registry import HOOKS
from mmaction.visualization.training_curve import history_of, plot_training

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['CurveHook']


@HOOKS.register_module()
class CurveHook(Hook):
    """Draw loss, learning rate and accuracy to `curve.png` at the end of training.

    A resumed run shows the steps before, too.
    """

    # Before the checkpoint hook, which saves what is noted here.
    priority = 'BELOW_NORMAL'

    def after_val_epoch(
        self, runner: ActionRunner, metrics: dict[str, float] | None = None
    ) -> None:
        """Note the step at which a validation ran to its end."""
        if not metrics:
            return
        steps = runner.message_hub.get_info('steps_of_val') or []
        runner.message_hub.update_info('steps_of_val', [*steps, runner.iter])

    def after_train(self, runner: ActionRunner) -> None:
        """Draw what the message hub has kept."""
        if not is_main_process():
            return
        history = history_of(runner.message_hub, len(runner.train_dataloader))
        if not history.loss:
            return
        path = Path(runner.work_dir, 'curve.png')
        plot_training(history, path, title=Path(runner.cfg.filename or runner.work_dir).stem)
        runner.logger.info(f'curve of the run: {path}')
