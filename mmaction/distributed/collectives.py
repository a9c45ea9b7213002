"""What the ranks of a run tell each other: a flag, an object, a mean.

NCCL carries tensors of GPUs only, and reading one makes host and GPU wait. The few bytes by
which the ranks' hosts agree on something go through a second, gloo group; what stays on the GPU
goes through the main one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

__all__ = [
    'any_rank',
    'broadcast_object',
    'close_processes',
    'gather_objects',
    'max_over_ranks',
    'open_control_group',
    'reduce_mean',
]

_control_group: Any = None


def open_control_group(backend: str, timeout: float) -> None:
    """Make the gloo group, where the main one is another; every rank has to call it."""
    global _control_group
    if backend != 'gloo':
        _control_group = dist.new_group(backend='gloo', timeout=timedelta(seconds=timeout))


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true in any rank; every rank has to call it."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    shared = torch.tensor([int(flag)])
    dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=_control_group)
    return bool(shared.item())


def max_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The largest value of any rank, through the main group: on a GPU the host does not wait."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    shared = value.clone()
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared


def gather_objects(value: object) -> list[Any] | None:
    """In rank 0 the value of every rank, in their order; None in the others."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, group=_control_group)
    return values


def broadcast_object(value: object) -> Any:
    """The value of rank 0; every rank has to call it."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_control_group)
    return values[0]


def reduce_mean(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The mean of each number over all ranks, which all have to call it.

    Args:
        values: Numbers or tensors of one element; the same keys in every rank.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return dict(values)
    numbers = [float(torch.as_tensor(value).detach()) for value in values.values()]
    shared = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(shared, group=_control_group)
    return dict(zip(values, (shared / dist.get_world_size()).tolist(), strict=True))


def close_processes() -> None:
    """Leave the process group, if there is one."""
    global _control_group
    _control_group = None
    if dist.is_initialized():
        dist.destroy_process_group()
