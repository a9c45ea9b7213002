"""A memory is written again only when nobody else holds it any more."""

import errno
import fcntl
import os
import random
import socket
from collections import deque

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmaction.utils import memory_files
from mmaction.utils.forked_call import ForkedCall
from mmaction.utils.memory_files import MemoryFiles, map_memory

SIZE = 5000


def kernel_tells():
    """Whether it grants a lease on a memory whose maker has closed it."""
    try:
        first = os.memfd_create('probe')
        with open(f'/proc/self/fd/{first}', 'r+b') as memory:
            os.close(first)
            fcntl.fcntl(memory, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except (AttributeError, OSError):
        return False
    return True


used_again = pytest.mark.skipif(not kernel_tells(), reason='no leases on memory files here')


def storage(value, size=SIZE):
    return torch.full((size,), value, dtype=torch.uint8).untyped_storage()


def mapped(handle):
    return torch.empty(0, dtype=torch.uint8).set_(map_memory(handle))


def file_of(handle):
    return os.fstat(handle).st_ino


@pytest.fixture
def one():
    """A single memory, which is free; its file; a handle that is open."""
    memories = MemoryFiles(kept=1)
    handle = memories.write(storage(1))
    return memories, file_of(handle), handle


@used_again
def test_it_is_used_again_once_nobody_holds_it(one):
    memories, file, handle = one
    os.close(handle)
    again = memories.write(storage(2, 300))
    assert file_of(again) == file
    assert mapped(again).tolist() == [2] * 300
    os.close(again)
    longer = memories.write(storage(3, 9000))
    assert file_of(longer) == file
    assert mapped(longer).tolist() == [3] * 9000


def hold_open(handle):
    return lambda: os.close(handle), lambda: os.pread(handle, SIZE, 0)


def hold_mapped(handle):
    clips = [mapped(handle)]
    os.close(handle)
    return clips.clear, lambda: bytes(clips[0].tolist())


def hold_part(handle):
    parts = [mapped(handle)[10:].view(2, -1)[1]]
    os.close(handle)
    return parts.clear, lambda: bytes(parts[0].tolist())


def hold_on_the_way(handle):
    ours, its = socket.socketpair()
    socket.send_fds(ours, [b'x'], [handle])
    os.close(handle)

    def read():
        _, (received,), _, _ = socket.recv_fds(its, 1, 1)
        return os.pread(received, SIZE, 0)

    def let_go():
        ours.close()
        its.close()

    return let_go, read


def hold_in_child(handle):
    ours, its = socket.socketpair()
    clip = mapped(handle)
    if not (child := os.fork()):
        ours.close()
        if its.recv(1):
            its.sendall(bytes(clip.tolist()))
        os._exit(0)
    del clip
    os.close(handle)
    its.close()

    def read():
        ours.sendall(b'x')
        return ours.recv(SIZE, socket.MSG_WAITALL)

    def let_go():
        ours.close()
        os.waitpid(child, 0)

    return let_go, read


@used_again
@pytest.mark.parametrize(
    'hold', [hold_open, hold_mapped, hold_part, hold_on_the_way, hold_in_child]
)
@pytest.mark.parametrize('look', [True, False])
def test_who_holds_it_keeps_its_content(one, hold, look):
    memories, file, handle = one
    let_go, read = hold(handle)
    other = memories.write(storage(2))
    assert file_of(other) != file
    os.close(other)
    if look:
        found = read()
        assert set(found) == {1}
        assert len(found) in (SIZE, (SIZE - 10) // 2)
    let_go()
    if not (look and hold is hold_on_the_way):  # who has received it holds it
        again = memories.write(storage(3))
        assert file_of(again) == file
        os.close(again)


@used_again
def test_one_that_is_held_for_long_does_not_keep_others_from_use():
    memories = MemoryFiles(kept=3)
    held = memories.write(storage(1))
    files = set()
    for value in range(2, 30):
        handle = memories.write(storage(value))
        files.add(file_of(handle))
        assert set(mapped(handle).tolist()) == {value}
        os.close(handle)
    assert file_of(held) not in files
    assert len(files) < 14
    assert set(mapped(held).tolist()) == {1}
    os.close(held)


@used_again
def test_clips_that_wait_in_line_take_turns():
    memories = MemoryFiles(kept=8)
    line, files = deque(), []
    for value in range(60):
        line.append(handle := memories.write(storage(value)))
        files.append(file_of(handle))
        if len(line) > 5:
            assert set(mapped(line[0]).tolist()) == {value - 5}
            os.close(line.popleft())
    assert len(set(files)) <= 8
    for handle in line:
        os.close(handle)


@used_again
def test_no_more_than_a_number_is_kept():
    memories = MemoryFiles(kept=2)
    held = [memories.write(storage(value)) for value in range(6)]
    assert len({file_of(handle) for handle in held}) == 6
    kept = [file_of(handle) for handle in held[:2]]
    for handle in held:
        os.close(handle)
    for _ in range(6):
        handle = memories.write(storage(9))
        assert file_of(handle) in kept
        os.close(handle)


def refuse(*_):
    raise OSError(errno.EINVAL, 'Invalid argument')


def deny(*_):
    raise OSError(errno.EAGAIN, 'Resource temporarily unavailable')


@pytest.mark.parametrize('answer', [refuse, deny, lambda *_: 0])
def test_a_kernel_that_cannot_tell_gets_new_memory(monkeypatch, answer):
    monkeypatch.setattr(fcntl, 'fcntl', answer)
    memories = MemoryFiles(kept=1)
    first, second = memories.write(storage(1)), memories.write(storage(2))
    assert set(mapped(first).tolist()) == {1}
    os.close(first)
    assert file_of(memories.write(storage(3))) != file_of(second)
    assert set(mapped(second).tolist()) == {2}


def test_a_system_without_proc_gets_new_memory(monkeypatch):
    monkeypatch.setattr(memory_files, '_opened_again', refuse)
    handle = MemoryFiles().write(storage(1))
    assert set(mapped(handle).tolist()) == {1}
    os.close(handle)


def make(value, size):
    return torch.full((size,), value, dtype=torch.int32)


def test_results_of_a_reading_process_stay_while_they_are_held():
    call = ForkedCall(make, 60)
    draw = random.Random(0)
    held = {}
    for value in range(300):
        size = draw.choice([20000, 20000, 31000])
        held[value] = size, call(value, size)
        for old in draw.sample(sorted(held), min(len(held), draw.randrange(3))):
            del held[old]
        if value % 20 == 0:
            assert all(((t == v).all() and len(t) == n) for v, (n, t) in held.items())
    assert held
    assert all(((t == v).all() and len(t) == n) for v, (n, t) in held.items())
    call.close()


class Read(Dataset):
    """Clips that a process of their own reads."""

    def __init__(self):
        self._call = ForkedCall(make, 60)

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return self._call(index, 20000)


def test_batches_of_workers_stay_while_they_are_held():
    loader = DataLoader(Read(), 4, num_workers=2, persistent_workers=True, collate_fn=list)
    draw = random.Random(0)
    held = []
    for _ in range(3):
        for number, batch in enumerate(loader):
            held += [(4 * number + place, clip) for place, clip in enumerate(batch)]
            held = draw.sample(held, min(len(held), draw.randrange(20, 40)))
            assert all((clip == index).all() for index, clip in held)
    assert len({clip.data_ptr() for _, clip in held}) == len(held)
