"""What choosing a kernel for a CPU depends on: the processor, and whether a graph is exported."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from mmengine.utils import digit_version

__all__ = ['HAS_AMX', 'IS_AMD', 'can_run_operators', 'is_exporting']


def _about() -> str:
    """What the system says of the first core."""
    try:
        with Path('/proc/cpuinfo').open(encoding='ascii', errors='replace') as file:
            return file.read(8192)
    except OSError:
        return platform.processor()


IS_AMD = 'AuthenticAMD' in _about()
HAS_AMX = 'amx_bf16' in _about().split()
"""Whether the processor multiplies tiles of bf16 matrices."""

_CALLS_ALL_EXPORTED = digit_version(torch.__version__) < digit_version('2.11')
"""Whether PyTorch says of every graph that it compiles that it is exported."""


def is_exporting() -> bool:
    """Whether a graph is being made for other software, which cannot run this package's kernels.

    That is `torch.export`, ONNX's exporter or `torch.jit.trace`.
    """
    if torch.jit.is_tracing():
        return True
    if _CALLS_ALL_EXPORTED:
        return torch.compiler._is_exporting_flag  # noqa: SLF001 (what `is_exporting` should say)
    return torch.compiler.is_exporting()


def can_run_operators() -> bool:
    """Whether operators of this package may run.

    Not where a graph is made for other software, nor within `torch.func`, which does not know them.
    """
    transforms = torch._C._are_functorch_transforms_active()  # noqa: SLF001 (no public name)
    return not (transforms or is_exporting())
