"""Whether a graph is being made for other software, which cannot run this package's kernels."""

from __future__ import annotations

import torch

__all__ = ['is_exporting']


def is_exporting() -> bool:
    """Whether `torch.export`, ONNX's exporter or `torch.jit.trace` is at work."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_exporting())
