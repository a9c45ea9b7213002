"""Facts about the processor that choices of kernels depend on."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ['HAS_AMX', 'IS_AMD']


def _about() -> str:
    """What the system says of the first core."""
    try:
        with Path('/proc/cpuinfo').open(encoding='ascii', errors='replace') as file:
            return file.read(8192)
    except OSError:
        return platform.processor()


IS_AMD = 'AuthenticAMD' in _about()
HAS_AMX = 'amx_tile' in _about().split()
"""Whether the processor multiplies tiles of bf16."""
