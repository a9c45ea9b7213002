"""Batches on their way to the GPU while it computes the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

__all__ = ['device_batches', 'move']


def device_batches(batches: Iterator[object], device: str | torch.device) -> Iterator[Any]:
    """The same batches on a device; on a CPU they are passed on as they are.

    A copy starts as soon as the loader has given the batch, one batch ahead, on a stream of its
    own. Bytes stay bytes: the preprocessor makes floats of them on the device.

    Args:
        batches: What a loader gives, or tuples of an index and that.
        device: Where the model is.
    """
    device = torch.device(device)
    if device.type == 'cpu':
        yield from batches
        return
    stream = torch.cuda.Stream() if device.type == 'cuda' else None
    coming: list[tuple[Any, list[Tensor]]] = []
    for batch in batches:
        copied: list[Tensor] = []
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            coming.append((move(batch, device, copied), copied))
        # The step of the batch before is queued, and will use what was copied during the last.
        if len(coming) > 1:
            yield _arrived(*coming.pop(0), stream)
    for batch, copied in coming:
        yield _arrived(batch, copied, stream)


def _arrived(batch: object, copied: list[Tensor], stream: torch.cuda.Stream | None) -> Any:
    if stream is None:
        return batch
    current = torch.cuda.current_stream()
    current.wait_stream(stream)
    for tensor in copied:
        # Its memory belongs to the other stream, which must not reuse it under this one's step.
        tensor.record_stream(current)
    return batch


def move(value: object, device: torch.device, copied: list[Tensor]) -> Any:
    """A batch with its tensors on a device, copied without the host waiting.

    Args:
        value: Any nesting of mappings, sequences and samples.
        device: Where to.
        copied: Takes the tensors that were made.
    """
    if isinstance(value, Tensor):
        if value.device.type == 'cpu' and device.type == 'cuda' and not value.is_pinned():
            value = value.pin_memory()  # without it the copy would make the host wait
        moved = value.to(device, non_blocking=True)
        copied.append(moved)
        return moved
    if isinstance(value, BaseDataElement):
        sample = value.new()
        for name, item in value.items():
            sample.set_data({name: move(item, device, copied)})
        return sample
    if isinstance(value, Mapping):
        return {key: move(item, device, copied) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        return type(value)(*(move(item, device, copied) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(move(item, device, copied) for item in value)
    return value
