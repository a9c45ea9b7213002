"""Running code that may hang or crash, as video decoders do, at arm's length.

`isolated_call` gives a function that runs in a child process, which can be killed. On Linux that
is forked; a loader's worker reads its samples that way. macOS and Windows have no safe `fork`: the
child is a new interpreter there, which takes seconds to start, and copies what comes back.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import psutil
import torch

from mmaction.utils.cli import note_place, raised_in
from mmaction.utils.small_tensors import hand_over_as_bytes

__all__ = [
    'PARTS',
    'CallCrashed',
    'CallTimedOut',
    'IsolatedCall',
    'SpawnedCall',
    'answer_of',
    'end_of',
    'end_with',
    'end_with_owner',
    'isolated_call',
    'result_of',
    'start_plain_worker',
    'use_one_thread',
]

# Why not one long wait? A process that was stopped meanwhile (SIGSTOP, a suspended job or laptop)
# would find its time gone by. Waiting in parts, it loses one of them at most.
PARTS = 20
# By their names: Windows has few of these signals.
_DECODER_FAULTS = ('SIGSEGV', 'SIGABRT', 'SIGFPE', 'SIGILL', 'SIGSYS')

_HINTS = {
    'SIGBUS': ': is the shared memory (/dev/shm) full?',
    'SIGKILL': ': did the system run out of memory?',
}
# See prctl(2).
_PR_SET_PDEATHSIG = 1
_FAULTS_OF_WINDOWS = 0xC0000000
"""Exit statuses from here on are faults: NTSTATUS values of severity "error"."""


class CallTimedOut(Exception):  # noqa: N818
    """The call took too long and was killed."""


class CallCrashed(Exception):  # noqa: N818
    """The call brought its process down."""


class _Remote(Exception):  # noqa: N818
    """Carries the traceback of the child as the cause of the error raised here."""

    def __str__(self) -> str:
        return f'in the reading process:\n{self.args[0]}'


class IsolatedCall(Protocol):
    """A function that is called in a child process, which lives on from call to call.

    When a call hangs or crashes, the child is killed and the next call gets a new one.
    """

    def start(self) -> None:
        """Start the child now rather than at the first call."""

    def __call__(self, *args: Any) -> Any:
        """The result of the function.

        Raises:
            CallTimedOut: It took too long.
            CallCrashed: It crashed in native code.
            RuntimeError: The child was ended from outside.
            Exception: What the function raises.
        """

    def close(self) -> None:
        """End the child, if there is one."""


def isolated_call(function: Callable[..., Any], timeout: float) -> IsolatedCall:
    """A call in a child process of the kind that this system has.

    Args:
        function: What to call; off Linux it has to be one that can be pickled.
        timeout: Seconds one call may take.
    """
    if sys.platform == 'linux':
        from mmaction.utils.forked_call import ForkedCall

        return ForkedCall(function, timeout)
    return SpawnedCall(function, timeout)


class SpawnedCall:
    """Call a function in a child process that is spawned at the first call.

    One thread at a time may call. See `IsolatedCall`.

    Args:
        function: What to call; it can be pickled.
        timeout: Seconds one call may take, once the child has started.
    """

    def __init__(self, function: Callable[..., Any], timeout: float) -> None:
        self._function = function
        self._timeout = timeout
        self._child: tuple[BaseProcess, Any] | None = None
        self._is_ready = False

    def start(self) -> None:
        """See `IsolatedCall`."""
        if self._child is not None:
            return
        context = multiprocessing.get_context('spawn')
        mine, its = context.Pipe()
        child = context.Process(target=_serve, args=(its, self._function), daemon=True)
        child.start()
        its.close()
        self._child, self._is_ready = (child, mine), False

    def __call__(self, *args: Any) -> Any:
        """See `IsolatedCall`."""
        self.start()
        assert self._child is not None
        child, connection = self._child
        try:
            if not self._is_ready:
                self._is_ready = connection.recv()
            connection.send_bytes(pickle.dumps(args))
            if not connection.poll(self._timeout):
                self.close()
                raise CallTimedOut(f'took longer than {self._timeout:g} s')
            outcome, content = connection.recv()
        except BaseException as error:
            if self._child is None and isinstance(error, (EOFError, OSError)):
                raise RuntimeError('the call was closed before its answer came') from None
            if isinstance(error, (EOFError, ConnectionError)):
                child.join()
                error = end_of(child.pid or 0, child.exitcode or 0)
            # The answer that is on its way must not be taken for that of the next call.
            self.close()
            raise error from None
        return result_of(outcome, pickle.loads(content))

    def close(self) -> None:
        """See `IsolatedCall`."""
        if self._child is not None:
            child, connection = self._child
            self._child = None
            child.kill()
            child.join()
            connection.close()


def _serve(connection: Any, function: Callable[..., Any]) -> None:
    """The life of the child: answer calls until the other side is gone."""
    # Ctrl-C in a terminal reaches this process as well; the other side ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()
    try:
        connection.send(True)
        while True:
            args = pickle.loads(connection.recv_bytes())
            connection.send(answer_of(function, args, pickle.dumps))
    except (EOFError, ConnectionError):
        pass


def start_plain_worker(_worker_id: int) -> None:
    """What a loader's worker that no run guards does first: a `worker_init_fn`."""
    hand_over_as_bytes()
    end_with_owner()


def end_with_owner() -> None:
    """End this worker when the process that it works for ends, killed or not.

    torch's own watch lets a worker leave its loop, but not end: it waits until someone takes the
    batches that are under way. And a worker has copies of the sockets of its process, whose death
    others would not notice.
    """
    owner = multiprocessing.parent_process()
    if owner is not None and owner.pid is not None:
        end_with(owner.pid)


def end_with(parent: int, lasting: bool = False) -> None:
    """End this process when another one ends, killed or not.

    Waiting for the end of a socket would not do: children that are forked
    later hold copies of the parent's side of it, and keep each other alive.

    Args:
        parent: The other process, this one's parent or that of its fork server.
        lasting: The thread that forked lives as long as the parent: then the
            kernel ends even a child that hangs in native code.
    """
    if lasting and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent or _lives(parent):
            time.sleep(0.5)
        psutil.Process().kill()

    threading.Thread(target=watch, daemon=True).start()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_of(pid: int, status: int) -> CallCrashed | RuntimeError:
    """The error that the end of a child is.

    Args:
        pid: The child.
        status: Its exit status, or that of a signal times -1.
    """
    if status >= _FAULTS_OF_WINDOWS:
        return CallCrashed(f'crashed (0x{status:X})')
    ended = signal.Signals(-status).name if status < 0 else f'exit status {status}'
    if ended in _DECODER_FAULTS:
        return CallCrashed(f'crashed ({ended})')
    return RuntimeError(f'the reading process {pid} was ended by {ended}{_HINTS.get(ended, "")}')


def use_one_thread() -> None:
    """Leave the other cores to those who call beside this process."""
    torch.set_num_threads(1)
    if 'cv2' in sys.modules:
        sys.modules['cv2'].setNumThreads(0)


def answer_of(
    function: Callable[..., Any], args: tuple[Any, ...], dump: Callable[[Any], bytes]
) -> tuple[int, bytes]:
    """Call a function; 0 and its result or 1 and its error, pickled, for `result_of`."""
    try:
        result = function(*args)
        outcome = 0
    except Exception as error:
        note_place(error)
        result = error, traceback.format_exc()
        outcome = 1
    try:
        content = dump(result)
        if outcome:
            # Some errors can be pickled but not read again.
            pickle.loads(content)
    except Exception as error:
        what = result[0] if outcome else error
        message = f'{type(what).__name__}: {what}'
        trace = result[1] if outcome else traceback.format_exc()
        told = RuntimeError(message)
        note_place(told, raised_in(what) if outcome else '')
        return 1, pickle.dumps((told, trace))
    return outcome, content


def result_of(outcome: int, answer: Any) -> Any:
    """What `answer_of` found, unpickled: returned or raised."""
    if outcome:
        error, trace = answer
        raise error from _Remote(trace)
    return answer
