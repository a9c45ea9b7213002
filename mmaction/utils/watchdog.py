"""Guarding a process that cannot be replaced against code that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from typing import Any

from mmaction.utils.isolated_call import PARTS

__all__ = ['Watchdog']

# Runs in an interpreter of its own. Lines on stdin: the file being read, or nothing when done.
_WATCHDOG = """
import os, select, signal, sys
timeout, pid, parts = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def is_stopped():
    try:
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rpartition(')')[2].split()[0] in 'Tt'
    except OSError:
        return False

reading, rest, left = '', b'', parts
while True:
    ready, _, _ = select.select([0], [], [], timeout / parts if reading else None)
    if not ready:
        left -= not is_stopped()
        if left > 0:
            continue
        sys.stderr.write('\\nreading %s took longer than %g s (decode_timeout): run ended.\\n'
                         'With num_workers of at least 1 in the loader it would go on.\\n'
                         % (reading, timeout))
        sys.stderr.flush()
        os.kill(pid, signal.SIGKILL)
        break
    data = os.read(0, 65536)
    if not data:
        break
    *lines, rest = (rest + data).split(b'\\n')
    if lines:
        reading, left = lines[-1].decode('utf-8', 'backslashreplace'), parts
"""


class Watchdog:
    """End this process, with a message that names the file, if reading one takes too long.

    Args:
        timeout: Seconds one file may take.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Watchdog, (self._timeout,)

    def watch(self, filename: str) -> None:
        """The clock starts for a file."""
        # Why not a thread or a signal? Python runs neither while native code that hangs holds the
        # interpreter lock. Another process can always end this one.
        if self._process is None:
            facts = map(str, (self._timeout, os.getpid(), PARTS))
            command = [sys.executable, '-ISc', _WATCHDOG, *facts]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
            weakref.finalize(self, _close_watchdog, self._process)
        self._tell(repr(filename))

    def done(self) -> None:
        """The clock stops."""
        self._tell('')

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode('utf-8', 'backslashreplace') + b'\n')


def _close_watchdog(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    # Workers forked since hold the pipe open as well: the watchdog may see no end of it.
    process.kill()
    process.wait()
