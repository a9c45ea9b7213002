"""Calls in a child that is forked, on Linux; see isolated_call.py."""

from __future__ import annotations

import functools
import gc
import io
import os
import pickle
import signal
import socket
import struct
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from mmaction.utils.isolated_call import (
    PARTS,
    CallTimedOut,
    answer_of,
    end_of,
    end_with,
    result_of,
    use_one_thread,
)
from mmaction.utils.memory import keep_freed_memory
from mmaction.utils.memory_files import MemoryFiles, map_memory
from mmaction.utils.small_tensors import SHARED_FROM, reduce_small

__all__ = ['ForkedCall']

# Outcome (0 result, 1 exception), length of the pickled answer, number of shared memories.
_HEADER = struct.Struct('<BQI')
# Held while a child is made: one that another thread makes meanwhile would keep a copy of its side
# of the socket, and its end would not be seen. And filelock 4.3 refuses two forks at once.
_FORKING = threading.Lock()


def _renew_lock() -> None:
    global _FORKING
    _FORKING = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class _Suspended(Exception):  # noqa: N818
    """The child was stopped for so long that its own timer ended it."""


class _Pickler(pickle.Pickler):
    """Leaves the storages of large CPU tensors aside, to be shared instead of copied."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.storages: list[torch.UntypedStorage] = []

    def persistent_id(self, obj: object) -> Any:
        """Describe a large tensor by its place in `storages`, dtype, shape and stride."""
        if type(obj) is not torch.Tensor or obj.device.type != 'cpu' or obj.is_sparse:
            return None
        if obj.nbytes < SHARED_FROM or obj.requires_grad:
            return None
        obj = obj.contiguous()
        if obj.untyped_storage().nbytes() != obj.nbytes:
            obj = obj.clone()
        self.storages.append(obj.untyped_storage())
        return len(self.storages) - 1, obj.dtype, tuple(obj.shape), obj.stride()

    def reducer_override(self, obj: Any) -> Any:
        """Write small tensors as bytes."""
        return reduce_small(obj) or NotImplemented


class _Unpickler(pickle.Unpickler):
    """Puts shared tensors back in their places."""

    def __init__(self, content: bytes, storages: list[torch.UntypedStorage]) -> None:
        super().__init__(io.BytesIO(content))
        self._storages = storages

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The tensor of a description by `_Pickler`."""
        place, dtype, shape, stride = pid
        return torch.empty(0, dtype=dtype).set_(self._storages[place], 0, shape, stride)


class ForkedCall:
    """Call a function in a child process that is forked at the first call.

    The child lives on from call to call and sees the state of this process at
    its birth. Large tensors come back in shared memory, which a loader passes
    on without copying. When a call hangs or crashes, the child is killed and
    the next call gets a new one. See `IsolatedCall`.

    Args:
        function: What to call.
        timeout: Seconds one call may take.
    """

    def __init__(self, function: Callable[..., Any], timeout: float) -> None:
        self._function = function
        self._timeout = timeout
        self._lock = threading.Lock()
        self._owner = 0
        self._end: weakref.finalize[..., ForkedCall] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkedCall, (self._function, self._timeout)

    def __call__(self, *args: Any) -> Any:
        """See `IsolatedCall`."""
        while True:
            try:
                outcome, content, storages = self._ask(args)
                break
            except _Suspended:
                continue
        return result_of(outcome, _Unpickler(content, storages).load())

    def _ask(self, args: tuple[Any, ...]) -> tuple[int, bytes, list[torch.UntypedStorage]]:
        with self._lock:
            if self._end is None or self._owner != os.getpid():
                self._start()
            try:
                self._socket.sendall(_framed(pickle.dumps(args)))
                self._wait()
                self._socket.settimeout(self._timeout)
                return _receive(self._socket)
            except TimeoutError:
                self.close()
                raise CallTimedOut(f'took longer than {self._timeout:g} s') from None
            except (EOFError, ConnectionError):
                self._raise_for_end()
            except BaseException:
                # The answer that is on its way must not be taken for that of the next call.
                self.close()
                raise

    def _wait(self) -> None:
        """Until there is an answer."""
        self._socket.settimeout(self._timeout / PARTS)
        for part in range(PARTS):
            try:
                self._socket.recv(1, socket.MSG_PEEK)
                return
            except TimeoutError:
                if part == PARTS - 1:
                    raise

    def close(self) -> None:
        """See `IsolatedCall`."""
        if self._end is not None:
            self._end()
            self._end = None

    def start(self) -> None:
        """See `IsolatedCall`."""
        with self._lock:
            if self._end is None or self._owner != os.getpid():
                self._start()

    def _start(self) -> None:
        # Why not multiprocessing? Its processes must not be started from a loader's worker, which
        # is daemonic, and a spawned one would import torch again and open every dataset anew.
        parent = os.getpid()
        # The kernel takes the end of the forking thread for that of the parent.
        lasting = threading.current_thread() is threading.main_thread()
        with _FORKING:
            mine, its = socket.socketpair()
            # The child has this thread alone: a lock that another one holds now stays locked in it
            # for ever. So `start` forks before decoders and other libraries have started threads.
            pid = os.fork()
            if pid == 0:
                mine.close()
                end_with(parent, lasting)
                _serve(its, self._function, self._timeout)
            its.close()
        self._socket, self._pid, self._owner = mine, pid, os.getpid()
        self._end = weakref.finalize(self, _end_child, self._owner, pid, mine)

    def _raise_for_end(self) -> NoReturn:
        """Tell a crash of the decoder from an end that the file is not to blame for."""
        assert self._end is not None
        self._end.detach()
        self._end = None
        self._socket.close()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        raise _Suspended if status == -signal.SIGALRM else end_of(self._pid, status)


def _end_child(owner: int, pid: int, sock: socket.socket) -> None:
    sock.close()
    # A worker forked later inherits the finalizer, but the child is not its own to kill.
    if os.getpid() == owner:
        # SIGTERM would wait for native code to return, which is what it does not do.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _framed(content: bytes) -> bytes:
    return _HEADER.pack(0, len(content), 0) + content


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b''.join(parts)


def _receive(sock: socket.socket) -> tuple[int, bytes, list[torch.UntypedStorage]]:
    header, handles, _, _ = socket.recv_fds(sock, _HEADER.size, 250)
    if not header:
        raise EOFError
    header += _read_exactly(sock, _HEADER.size - len(header))
    outcome, length, _ = _HEADER.unpack(header)
    content = _read_exactly(sock, length)
    storages = []
    for handle in handles:
        storages.append(map_memory(handle))
        os.close(handle)
    return outcome, content, storages


def _serve(sock: socket.socket, function: Callable[..., Any], timeout: float) -> NoReturn:
    """The life of the child: answer calls until the other side is gone."""
    try:
        _settle()
        memories = MemoryFiles()
        while True:
            _, content, _ = _receive(sock)
            # Should this process hang while nobody is left to kill it, the kernel does.
            signal.setitimer(signal.ITIMER_REAL, 2 * timeout + 10)
            shared: list[torch.UntypedStorage] = []
            dump = functools.partial(_dump_but_for_storages, storages=shared)
            outcome, answer = answer_of(function, pickle.loads(content), dump)
            signal.setitimer(signal.ITIMER_REAL, 0)
            handles = [memories.write(storage) for storage in shared]
            socket.send_fds(sock, [_HEADER.pack(outcome, len(answer), len(handles))], handles)
            sock.sendall(answer)
            for handle in handles:
                os.close(handle)
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _dump_but_for_storages(result: Any, storages: list[torch.UntypedStorage]) -> bytes:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(result)
    storages += pickler.storages
    return file.getvalue()


def _settle() -> None:
    """What a forked child has to do before it may work."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            is_ours = number in (signal.SIGALRM, signal.SIGCHLD)
            signal.signal(number, signal.SIG_DFL if is_ours else signal.SIG_IGN)
    # Slurm sends it to all processes of a job that is to end, which first takes a last step and
    # saves. This one ends with its parent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Libraries have handlers for crashes that Python knows nothing of; LLVM's, which Triton brings,
    # never returns here, nor does the process end.
    for name in ('SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT'):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    # Thread pools do not survive a fork.
    use_one_thread()
    # Every clip takes the same tens of megabytes again.
    keep_freed_memory()
    # Leave what was inherited where it is: it belongs to the parent.
    gc.freeze()
