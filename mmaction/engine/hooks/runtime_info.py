"""What is logged of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook

from mmaction.distributed.collectives import reduce_mean
from mmaction.registry import HOOKS

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['RuntimeInfoHook']


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """mmengine's hook, which logs losses and accuracies as the mean over all processes.

    Each process has the values of its own clips; their mean is that of the
    batch, so the curve is the one that a single process would draw.
    """

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Note the values of a step."""
        outputs = reduce_mean(outputs) if outputs else outputs
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
