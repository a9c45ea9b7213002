"""Which operators run, and whether our kernels for CPUs can be had."""

import shutil
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

CAPABILITY = torch.backends.cpu.get_cpu_capability()
"""What PyTorch says of the processor: AVX512, AVX2, ..."""

needs_kernel = pytest.mark.skipif(
    shutil.which('g++') is None or CAPABILITY not in ('AVX512', 'AVX2'),
    reason='no g++, or no AVX2',
)


@contextmanager
def compiled_for(instruction_set, library, monkeypatch):
    """Let the kernels of a cached function be those of an instruction set."""
    if instruction_set == 'AVX512' != CAPABILITY:
        pytest.skip('no AVX-512')
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: instruction_set)
    library.cache_clear()
    yield
    library.cache_clear()


def assert_threads_do_not_change_a_bit(function):
    """Compare the tensors that a function gives with 1, 2 and 3 threads."""
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(function())
    finally:
        torch.set_num_threads(threads)
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


class Names(TorchDispatchMode):
    """The operators that run, and the sizes of what is convolved backwards."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.convolved = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.found.append(function.name())
        if 'convolution_backward' in function.name():
            self.convolved.append([x.shape for x in args[:2]])
        return function(*args, **(kwargs or {}))
