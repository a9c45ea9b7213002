"""Makes Linux look like macOS or Windows to what is imported later on.

With this folder on PYTHONPATH and OTHER_SYSTEM=darwin or win32, `os`, `signal` and the like lack
what that system lacks (typeshed lists it), /proc, /sys and /dev/shm are not there, processes are
spawned, and a Mac has a GPU. Python's own modules and the libraries, imported before, keep all of
Linux. Paths and locked files of the other system are not imitated.
"""

import builtins
import functools
import importlib
import io
import multiprocessing
import os
import platform
import sys
from types import ModuleType
from typing import Any

_LIBRARIES = """
    asyncio concurrent.futures.thread fcntl http.server logging.handlers multiprocessing.managers
    multiprocessing.pool multiprocessing.popen_spawn_posix select shutil signal socket ssl
    subprocess tempfile
    av cv2 matplotlib.pyplot psutil sklearn.metrics timm torch.distributed torch.utils.data
    torchvision tqdm mmengine.runner
"""
_ONLY_ON_LINUX = dict(
    os="""
    memfd_create sched_getaffinity sched_setaffinity posix_fadvise posix_fallocate pidfd_open
    eventfd splice copy_file_range getxattr setxattr getrandom O_TMPFILE O_PATH O_DIRECT pipe2
    """,
    fcntl='F_SETLEASE F_GETLEASE F_NOTIFY F_ADD_SEALS F_GET_SEALS F_SETPIPE_SZ F_GETPIPE_SZ',
    signal='SIGRTMIN SIGRTMAX SIGPWR SIGPOLL SIGSTKFLT sigtimedwait sigwaitinfo',
    select='epoll',
)
_NOT_ON_WINDOWS = dict(
    os="""
    fork forkpty posix_spawn statvfs fstatvfs getuid geteuid getgid getegid setuid getpgid killpg
    setsid getsid setpgid getpgrp pread pwrite preadv pwritev mkfifo mknod sysconf nice getloadavg
    WIFSIGNALED WTERMSIG WEXITSTATUS WIFEXITED WIFSTOPPED WNOHANG chown fchown lchown sync O_CLOEXEC
    O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC uname register_at_fork wait wait3 wait4 setpriority
    getpriority ttyname openpty lockf fchdir sendfile
    """,
    signal="""
    SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGBUS SIGKILL SIGTSTP SIGCONT SIGSTOP SIGTTIN
    SIGTTOU SIGSYS SIGPIPE SIGTRAP SIGURG SIGVTALRM SIGPROF SIGWINCH SIGXCPU SIGXFSZ SIGIO alarm
    setitimer getitimer ITIMER_REAL pthread_sigmask pthread_kill sigpending sigwait siginterrupt
    pause SIG_BLOCK SIG_UNBLOCK SIG_SETMASK
    """,
    socket='AF_UNIX send_fds recv_fds',
    select='poll',
)
_MODULES_NOT_ON_WINDOWS = ('fcntl', 'grp', 'pty', 'pwd', 'resource', 'termios', 'tty')
_HIDDEN = ('/proc', '/sys', '/dev/shm')


def _without(name: str, missing: str) -> ModuleType:
    module, reduced = sys.modules[name], ModuleType(name)
    vars(reduced).update(vars(module))
    for attribute in missing.split():
        vars(reduced).pop(attribute, None)
    return reduced


def _hide(module: object, name: str) -> None:
    """Let a function not find what lies in a folder of Linux's."""
    found = getattr(module, name)

    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        # psutil has its own way of counting on each system.
        is_ours = not sys._getframe(1).f_globals['__name__'].startswith('psutil')
        if is_ours and isinstance(path, (str, os.PathLike)) and str(path).startswith(_HIDDEN):
            raise FileNotFoundError(2, 'No such file or directory', str(path))
        return found(path, *args, **kwargs)

    setattr(module, name, call)


class _SysOfLinux:
    """What multiprocessing takes for `sys`, to spawn in Linux's way."""

    platform = 'linux'

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(sys, name, value)


def _refuse(*_: object) -> None:
    raise RuntimeError('macOS crashes what is forked, and Windows cannot fork')


def _become(system: str) -> None:
    torch: Any = importlib.import_module('torch')
    torch.backends.mps.is_available = functools.cache(lambda: system == 'darwin')
    for name in _LIBRARIES.split():
        importlib.import_module(name)
    changed: Any = sys.modules
    changed['multiprocessing.popen_fork'].Popen._launch = _refuse  # that of spawning is another
    for module in [each for name, each in changed.items() if name.startswith('multiprocessing')]:
        if hasattr(module, 'sys'):
            module.sys = _SysOfLinux()
    missing = [_ONLY_ON_LINUX] if system == 'darwin' else [_ONLY_ON_LINUX, _NOT_ON_WINDOWS]
    for name in ('os', 'fcntl', 'signal', 'select', 'socket'):
        changed[name] = _without(name, ' '.join(part.get(name, '') for part in missing))
    for module, name in [(builtins, 'open'), (io, 'open'), (os, 'stat')]:
        _hide(module, name)
    for name in ('open', 'stat', 'listdir'):
        _hide(changed['os'], name)
    if system == 'win32':
        changed['os'].name = 'nt'
        for name in _MODULES_NOT_ON_WINDOWS:
            changed[name] = None
        # torch has set up for SIGCHLD, which Windows does not have.
        torch.utils.data._utils.signal_handling._set_SIGCHLD_handler = lambda: None
    sys.platform = system
    platform.system = lambda: dict(darwin='Darwin', win32='Windows')[system]
    multiprocessing.set_start_method('spawn')


if 'OTHER_SYSTEM' in os.environ and 'resource_tracker' not in str(sys.orig_argv):
    _become(os.environ['OTHER_SYSTEM'])
