"""Small tensors on their way to another process, as their bytes.

PyTorch gives every tensor that a loader's worker hands over a shared memory, whose handle takes a
connection and two handshakes; pickle wraps its content as a saved file. Both cost more than the
bytes themselves up to some tens of kilobytes: a clip of a small network, a label.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

__all__ = ['SHARED_FROM', 'hand_over_as_bytes', 'reduce_small']

SHARED_FROM = 1 << 16
"""Bytes from which a shared memory costs less."""


def reduce_small(tensor: object) -> tuple[Callable[..., Tensor], tuple[Any, ...]] | None:
    """What pickle needs to make an equal tensor; None for all but small, plain ones."""
    if type(tensor) is not Tensor:
        return None
    plain = (
        tensor.device.type == 'cpu'
        and tensor.layout is torch.strided
        and 0 < tensor.nbytes < SHARED_FROM
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_complex())
    )
    if not plain:
        return None
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _from_bytes, (content, tensor.dtype, tuple(tensor.shape))


def _from_bytes(content: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)


def hand_over_as_bytes(_worker_id: int = 0) -> None:
    """From now on, this process sends small tensors as bytes: a loader's `worker_init_fn`."""
    ForkingPickler.register(Tensor, lambda tensor: reduce_small(tensor) or reduce_tensor(tensor))
