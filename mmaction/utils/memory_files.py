"""Memory that one process writes and others map, used again once they are done with it.

New pages are what a clip costs on its way: the kernel clears each before it is written. So the
writer keeps its memories, and asks the kernel before it writes into one again: a write lease is
granted only for a file that nobody else has open, and a mapping, a descriptor on its way through a
socket and the copies of a forked process all count. Nothing has to be told by those who read.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

import torch

__all__ = ['MemoryFiles', 'map_memory']

KEPT = 64
"""Memories that are kept at most: more than a worker has on the way."""

# How torch's own queues open a shared memory; its type stubs leave it out.
_new_shared = torch.UntypedStorage._new_shared_fd_cpu  # type: ignore[attr-defined]


def map_memory(handle: int) -> torch.UntypedStorage:
    """The storage in a memory by `MemoryFiles`."""
    storage: torch.UntypedStorage = _new_shared(handle, os.fstat(handle).st_size)
    return storage


class MemoryFiles:
    """Memories of this process that others can map.

    A new one is written in one call, which is faster than torch's way of faulting each page in, and
    does not count against the size of /dev/shm. What is kept is as much as was held at once.

    Args:
        kept: Number of memories that are kept at most, for none to be used again 0.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: list[_Memory] = []
        self._room = kept if kept and _leases_tell() else 0

    def write(self, storage: torch.UntypedStorage) -> int:
        """Copy a storage into a memory that nobody else holds.

        Returns:
            A descriptor for those who are to map it, to be closed here.
        """
        # Why not pickle the pixels? Tens of megabytes would be copied into the pickle, through the
        # socket in small pieces, and out of it again. Nor a named shared memory: after a kill
        # nobody would unlink it, while the kernel frees this one with its last descriptor.
        memory = self._free()
        if memory is None and self._room:
            self._room -= 1
            memory = _Memory()
            self._kept.append(memory)
        if memory is not None:
            memory.fill(storage)
            return _opened_again(memory.file)
        handle = os.memfd_create('clip')
        os.ftruncate(handle, storage.nbytes())
        content, place = memoryview(_bytes_of(storage).numpy().data), 0
        while place < len(content):
            place += os.pwrite(handle, content[place:], place)
        return handle

    def _free(self) -> _Memory | None:
        """The memory that was written first of those that nobody holds."""
        for memory in self._kept:
            if _is_ours_alone(memory.file):
                self._kept.remove(memory)
                self._kept.append(memory)
                return memory
        return None


class _Memory:
    """A memory that stays mapped here, for whose pages the kernel need not be asked again."""

    def __init__(self) -> None:
        self.file = _new()
        self._pages = torch.empty(0, dtype=torch.uint8)

    def fill(self, storage: torch.UntypedStorage) -> None:
        """Copy a storage into it."""
        size = storage.nbytes()
        if size != len(self._pages):
            os.ftruncate(self.file, size)
            # by the same descriptor: no lease is refused for the sake of this mapping
            self._pages = _bytes_of(map_memory(self.file))
        self._pages.copy_(_bytes_of(storage))


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _new() -> int:
    first = os.memfd_create('clip')
    # The kernel counts who has opened a file, not the one who has made it.
    try:
        return _opened_again(first)
    finally:
        os.close(first)


def _opened_again(memory: int) -> int:
    return os.open(f'/proc/self/fd/{memory}', os.O_RDWR | os.O_CLOEXEC)


def _is_ours_alone(memory: int) -> bool:
    """Whether nobody else has a memory open or mapped.

    Source: fcntl(2), F_SETLEASE.
    """
    try:
        fcntl.fcntl(memory, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    fcntl.fcntl(memory, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def _leases_tell() -> bool:
    """Whether this kernel tells who holds a memory: some sandboxes do not, so it is tried."""
    with suppress(OSError):
        memory = _new()
        try:
            return _alone_while_open_mapped_and_free(memory) == [False, False, True]
        finally:
            os.close(memory)
    return False


def _alone_while_open_mapped_and_free(memory: int) -> list[bool]:
    os.ftruncate(memory, 1)
    handle = _opened_again(memory)
    found = [_is_ours_alone(memory)]
    mapped = map_memory(handle)
    os.close(handle)
    found.append(_is_ours_alone(memory))
    del mapped
    return [*found, _is_ours_alone(memory)]
