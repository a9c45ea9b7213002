"""The order in which DistributedDataParallel adds up gradients, the same in every step of a run.

It sends gradients in buckets, and after the first backward pass lays the buckets out anew, in the
order in which gradients were ready. An all-reduce of three or more processes adds the parts of a
bucket in an order that depends on their place in it, and floating-point sums depend on the order.
A run that is resumed has its first backward pass where the unbroken run had a later one: its
weights would differ in their last bits. So the pass after which the layout stays is one before the
first step, whose gradients are thrown away.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmaction.distributed.collectives import broadcast_object

from .dry_run import unchanged

__all__ = ['settle_buckets']


def settle_buckets(
    model: nn.Module, optim_wrapper: Any, loader: DataLoader[Any], clip: dict[str, Any] | None
) -> None:
    """Go through the model and back once with copies of a clip, in all processes.

    Two processes add two numbers, whose order does not matter, and need no such pass.

    Args:
        model: The wrapped model, as it is trained.
        optim_wrapper: Which knows the precision.
        loader: The loader of the training set.
        clip: In the first process, a sample of it; None if it could not be read.
    """
    if not isinstance(model, DistributedDataParallel) or model.process_group.size() < 3:
        return
    clip = broadcast_object(clip)
    if clip is None:
        return
    wrapped: Any = model
    bare: Any = model.module
    batch = loader.collate_fn([clip] * (loader.batch_size or 1))
    with unchanged(bare):
        model.train()
        # Of the bare model, which has no `no_sync`: a pass that only accumulates sends nothing.
        with optim_wrapper.optim_context(bare):
            data = bare.data_preprocessor(batch, True)
            losses = wrapped._run_forward(data, mode='loss')  # noqa: SLF001 (as train_step)
        bare.parse_losses(losses)[0].backward()
