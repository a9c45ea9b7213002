"""What is logged of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.hooks.hook import DATA_BATCH

from mmaction.distributed.collectives import reduce_mean
from mmaction.engine.step_values import HostCopy, reads_now
from mmaction.registry import HOOKS

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['RuntimeInfoHook']


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """mmengine's hook, which logs losses and accuracies as the mean over all processes.

    Each process has the values of its own clips; their mean is that of the
    batch, so the curve is the one that a single process would draw. The values of
    all steps since the last reading point are read, and averaged, at once.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[HostCopy, HostCopy]] = []

    def after_train_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Note the values of a step."""
        wrapper = runner.optim_wrapper
        norm = getattr(wrapper, 'norm', None)
        # The norm is of all ranks already.
        shared = {} if norm is None else {wrapper.grad_name: norm}
        self._steps.append((HostCopy(shared), HostCopy(outputs or {})))
        if reads_now(runner, batch_idx):
            self.read_steps(runner)

    def read_steps(self, runner: ActionRunner) -> None:
        """Log what has not been read yet; every rank has to call it."""
        steps, self._steps = self._steps, []
        own = {(i, k): v for i, (_, copy) in enumerate(steps) for k, v in copy.read().items()}
        means: dict[int, dict[str, float]] = {}
        for (i, name), value in reduce_mean(own).items():
            means.setdefault(i, {})[name] = value
        for i, (shared, _) in enumerate(steps):
            # One norm that is not finite would hide the others in a mean; its step is reported.
            norms = {name: v for name, v in shared.read().items() if math.isfinite(v)}
            for name, value in {**norms, **means.get(i, {})}.items():
                runner.message_hub.update_scalar(f'train/{name}', value)

    def after_train(self, runner: ActionRunner) -> None:
        """Log the last steps, where training has stopped between two reading points."""
        self.read_steps(runner)
        super().after_train(runner)
