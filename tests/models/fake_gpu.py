"""Models on a GPU that is not there: shapes and devices are worked out, nothing is computed.

Every operation on tensors of two devices raises, and so does whatever makes a step wait for a
value of the GPU (`.item()`, `.tolist()`, `if tensor:`, `.cpu()`).
"""

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)

_aten = torch.ops.aten
_numpy = torch.Tensor.numpy


class FakeGpu(FakeTensorMode):
    """A block in which 'cuda' is a device. Numbers on the CPU may be read: they are 0, or True."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Answer what the CPU has; leave the rest to the mode of PyTorch."""
        reads = func is _aten._local_scalar_dense.default
        if reads and args[0].device.type == 'cpu':
            return True if args[0].dtype is torch.bool else args[0].dtype.is_floating_point * 0.0
        if func is _aten._to_copy.default and args[0].is_cuda:
            to = (kwargs or {}).get('device')
            if to is not None and torch.device(to).type == 'cpu':
                raise DataDependentOutputException(func)
        if func is _aten._pin_memory.default:
            assert args[0].device.type == 'cpu', 'only memory of the host can be pinned'
            return super().__torch_dispatch__(_aten.clone.default, types, args[:1])
        return super().__torch_dispatch__(func, types, args, kwargs)


def numpy_of_fake(tensor: torch.Tensor, *, force: bool = False) -> np.ndarray:
    """`Tensor.numpy` with zeros for fake tensors on the CPU, of which PyTorch gives none."""
    if not isinstance(tensor, FakeTensor) or tensor.device.type != 'cpu':
        return _numpy(tensor, force=force)
    return np.zeros(tensor.shape, str(tensor.dtype).removeprefix('torch.'))


def to_fake_gpu(model: nn.Module) -> nn.Module:
    """Move what `Module.to` moves, parameters and buffers; that itself takes no fake tensors."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                moved = value.detach().to('cuda')
                module._parameters[name] = nn.Parameter(moved, value.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to('cuda')
        if isinstance(module, BaseDataPreprocessor):
            module._device = torch.device('cuda')
    return model
