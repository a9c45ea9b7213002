"""Memory of this process: how much it took, and what the allocator does with what is freed."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = [
    'available_memory',
    'keep_freed_memory',
    'limit_memory',
    'peak_memory',
    'resident_memory',
]

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library hand freed memory out again instead of returning it to the system.

    The activations of a video model are tens of megabytes each. By default glibc gets
    every one as fresh pages, which the system has to clear, and gives them back a moment
    later. Kept, a forward pass on a CPU is about a tenth faster, with the same peak.

    Returns:
        Whether it did anything: on systems without glibc (macOS, Windows) it does not.
    """
    if sys.platform != 'linux':
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def limit_memory(extra: int) -> None:
    """Let this process take so many more bytes than it has now, and no more; Linux only.

    What the allocator has kept of freed memory counts as taken. A child that is forked from a
    large process could fill that first, unlimited, so it is put out of reach. A process that has
    a limit already keeps it.

    Args:
        extra: The bytes.
    """
    if sys.platform != 'linux':
        return
    import resource

    # RLIMIT_DATA, not RLIMIT_AS: threads and libraries reserve gigabytes of addresses that
    # they never touch. What the child shares with its parent counts as well, hence the sum.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = _bytes_of('/proc/self/status', 'VmData:')
    if soft != hard or used is None:
        return
    if hard == resource.RLIM_INFINITY or used + extra < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (used, hard))
        _occupy_freed_memory()
        resource.setrlimit(resource.RLIMIT_DATA, (used + extra, hard))


def _occupy_freed_memory() -> None:
    """Allocate, for good, every piece of freed memory of a megabyte and more.

    Nothing is written there, so it takes none of the machine's memory. The process must be at its
    limit: else the system would give more and more.
    """
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for power in range(40, 19, -1):
        while malloc(1 << power):
            pass


def peak_memory() -> int:
    """Bytes that this process has taken at most: of the GPU, else of the machine (0: unknown)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    # Linux; what getrusage counts there includes the process that started this one.
    peak = _bytes_of('/proc/self/status', 'VmHWM:')
    if peak is not None:
        return peak
    if sys.platform != 'win32':
        from resource import RUSAGE_SELF, getrusage

        # macOS counts in bytes, others in KiB.
        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    return 0


def resident_memory() -> int:
    """Bytes of the machine's memory that this process has now."""
    return int(psutil.Process().memory_info().rss)


def _bytes_of(file: str, name: str) -> int | None:
    """An entry in kB of a file of Linux's /proc; None if it is not there."""
    try:
        lines = Path(file).read_text(errors='replace').splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def available_memory() -> int:
    """Bytes that the machine can still give: of its memory, and of its control group.

    A container may have less than the machine that it runs on.
    """
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):
        group = Path('/sys/fs/cgroup')
        limit = (group / 'memory.max').read_text().strip()
        if limit != 'max':
            free = min(free, int(limit) - int((group / 'memory.current').read_text()))
    return max(0, free)
