"""Counting the places at which the host reads a tensor, which on a GPU it has to wait for."""

import traceback
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
_READS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
}
ROOT = Path(__file__).parents[2]


def _place():
    """The innermost line of this project or of mmengine."""
    lines = traceback.extract_stack()[:-3]
    own = [f for f in lines if 'mmaction' in f.filename or 'mmengine' in f.filename]
    frame = (own or lines)[-1]
    return f'{Path(frame.filename).name}:{frame.lineno} {frame.line}'


class HostReads(TorchDispatchMode):
    """Notes each line that reads a tensor: `item`, `bool`, `float`, `nonzero`, boolean indices."""

    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func is aten.index.Tensor and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if func in _READS or by_mask:
            self.places.append(_place())
        return func(*args, **(kwargs or {}))


@contextmanager
def host_reads():
    """The reads within a block; `tolist` and `cpu`, which do not dispatch on a CPU, too.

    `numpy` is not counted: it is an error for a tensor on a GPU.
    """
    with HostReads() as reads:
        originals = {name: getattr(torch.Tensor, name) for name in ('tolist', 'cpu')}

        def noting(name):
            def method(self, *args, **kwargs):
                reads.places.append(_place())
                return originals[name](self, *args, **kwargs)

            return method

        patches = [mock.patch.object(torch.Tensor, name, noting(name)) for name in originals]
        for patch in patches:
            patch.start()
        try:
            yield reads.places
        finally:
            for patch in patches:
                patch.stop()
