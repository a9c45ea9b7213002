"""The start of a data-loading worker."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from mmaction.utils.isolated_call import end_with_owner
from mmaction.utils.small_tensors import hand_over_as_bytes

__all__ = ['start_iterator', 'start_worker', 'workers_within']

GRACE = 60
"""Seconds for which a worker goes on after SIGTERM."""
_IGNORED = {signal.SIGINT}
if sys.platform != 'win32':
    _IGNORED.add(signal.SIGUSR1)
_HELD = _IGNORED | {signal.SIGTERM}


def start_worker(worker_id: int, then: Callable[[int], object] | None = None) -> None:
    """Keep a worker alive while its process takes the last step and saves.

    Ctrl-C and Slurm signal the workers as well; were they to end at once, the
    process would wait for a batch that never comes. From here on, small tensors
    go to the process as bytes.

    If the process is killed, the worker ends with it.

    Args:
        worker_id: Number of the worker.
        then: What the config wants to be called in it.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != 'win32':
        signal.signal(signal.SIGTERM, _end_later)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    hand_over_as_bytes()
    end_with_owner()
    if then is not None:
        then(worker_id)


def start_iterator(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers of a loader, holding signals back until they can bear them."""
    ours = getattr(loader.worker_init_fn, 'func', None) is start_worker
    if sys.platform == 'win32' or not ours or not loader.num_workers:
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_later(_number: int, _frame: FrameType | None) -> None:
    if sys.platform != 'win32':
        signal.alarm(GRACE)


@contextmanager
def workers_within() -> Iterator[None]:
    """End the workers that were started within a block, at once, when it ends.

    A worker of ours outlives SIGTERM by `GRACE` seconds, for which Python would
    wait at its exit.
    """
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        _kill([child for child in multiprocessing.active_children() if child not in before])


def _kill(children: Iterable[multiprocessing.process.BaseProcess]) -> None:
    workers = [child for child in children if child.daemon]
    if not workers:
        return
    # torch's handler would take the end of a worker for an accident.
    previous = None
    if sys.platform != 'win32' and threading.current_thread() is threading.main_thread():
        previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()
    if sys.platform != 'win32' and previous is not None:
        signal.signal(signal.SIGCHLD, previous)
