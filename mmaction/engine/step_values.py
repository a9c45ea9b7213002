"""What training steps leave on the device, and when the host reads it.

A host that reads a number from a GPU waits for all that was queued before it, and the GPU then
waits for the host. So losses, norms and counts of steps stay on the device until a reading point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import Runner

__all__ = ['HostCopy', 'reads_now']


class HostCopy:
    """Numbers of a step, on their way to the host while the device goes on computing.

    Args:
        values: Numbers, or tensors of one element, by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        tensors = {name: v for name, v in values.items() if isinstance(v, torch.Tensor)}
        self._names = list(tensors)
        self._event: torch.cuda.Event | None = None
        if not tensors:
            return
        flat = [value.detach().reshape(()).double() for value in tensors.values()]
        self._host = torch.stack(flat)
        if self._host.is_cuda:
            self._host = self._host.to('cpu', non_blocking=True)  # pinned, as torch makes it
            self._event = torch.cuda.Event()
            self._event.record()

    def arrived(self) -> bool:
        """Whether a copy from a GPU has ended, so that reading it makes nobody wait."""
        return self._event is not None and self._event.query()

    def read(self) -> dict[str, float]:
        """The numbers by name; waits for them."""
        if self._event is not None:
            self._event.synchronize()
        if self._names:
            self._values.update(zip(self._names, self._host.tolist(), strict=True))
        return {name: float(value) for name, value in self._values.items()}


def reads_now(runner: Runner, batch_idx: int) -> bool:
    """Whether the values of the steps so far are read after this one; the same in all ranks.

    That is every `reading_interval` steps (1 where the runner has none), and after the last step
    of an epoch and of the run.
    """
    interval = getattr(runner, 'reading_interval', None) or 1
    if (batch_idx + 1) % interval == 0 or runner.iter + 1 == runner.max_iters:
        return True
    return bool(batch_idx + 1 == len(runner.train_dataloader))
