"""Processes that have everything imported: they fork from a server, as a new one takes seconds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# A server that has asked for GPUs cannot fork a process that uses one.
context: Any = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'forkserver')
_packages = ('datasets', 'engine', 'evaluation', 'models', 'visualization')
context.set_forkserver_preload(
    [
        'tests.quick_start',
        'tests.engine.toy',
        *(f'mmaction.{package}' for package in _packages),
        # which mmengine's visualizer imports when it is built
        'matplotlib.figure',
        'matplotlib.backends.backend_agg',
    ]
)


def _call(
    function: Callable[..., int | None],
    arguments: tuple[Any, ...],
    environment: dict[str, str],
    output: str,
) -> None:
    """What a child process does."""
    os.setsid()
    os.environ.update(environment)
    sys.stdout = sys.stderr = open(output, 'a', buffering=1)  # noqa: SIM115
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    torch.set_num_threads(1)
    gc.freeze()  # see tests/conftest.py
    try:
        status = function(*arguments) or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)


class Forked:
    """A call in one process, or in several as torchrun starts them, which can be killed.

    Args:
        function: What they call; returns the exit status, or None for 0.
        arguments: Its arguments.
        output: File of what all of them print.
        processes: How many.
    """

    def __init__(
        self,
        function: Callable[..., int | None],
        arguments: tuple[Any, ...],
        output: Path,
        processes: int = 1,
    ) -> None:
        self.output = output
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        self.processes = []
        for rank in range(processes):
            environment = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
            if processes > 1:
                environment.update(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(processes),
                    LOCAL_WORLD_SIZE=str(processes),
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=str(port),
                )
            process = context.Process(
                target=_call, args=(function, arguments, environment, str(self.output))
            )
            process.start()
            self.processes.append(process)

    def send(self, number: int) -> None:
        """Send a signal to every process and its workers."""
        for process in self.processes:
            assert process.pid is not None
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                # It has not become the leader of a group yet, or is gone.
                if process.is_alive():
                    os.kill(process.pid, number)

    def kill(self) -> None:
        """Kill every process, as a power cut would."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = 120) -> list[int | None]:
        """The exit status of each process."""
        for process in self.processes:
            process.join(timeout)
        if any(process.is_alive() for process in self.processes):
            self.send(signal.SIGKILL)
            raise TimeoutError(f'still running after {timeout} s:\n{self.output.read_text()}')
        return [process.exitcode for process in self.processes]

    def check(self) -> None:
        """Wait, and raise what went wrong."""
        codes = self.wait()
        assert codes == [0] * len(codes), self.output.read_text()
