"""Calls at arm's length: results, errors, hangs and crashes."""

import copy
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mmaction.errors import UnreadableVideoError
from mmaction.utils.cli import raised_in
from mmaction.utils.forked_call import ForkedCall
from mmaction.utils.isolated_call import CallCrashed, CallTimedOut, SpawnedCall, end_of
from mmaction.utils.watchdog import Watchdog
from tests.processes import Forked


def hang_with_the_lock():
    """Sleep in C without giving up the interpreter lock."""
    ctypes.PyDLL(None).sleep(1000)


def behave(how, *args):
    if how == 'add':
        return args[0] + args[1]
    if how == 'hang':
        hang_with_the_lock()
    if how == 'slow':
        time.sleep(0.4)
    if how == 'slow hang':
        time.sleep(1000)
    if how == 'open files':
        return len(os.listdir('/proc/self/fd'))
    if how == 'die':
        os.kill(os.getpid(), args[0])
    if how == 'die once':
        if args[1].exists():
            return 'lives'
        args[1].touch()
        os.kill(os.getpid(), args[0])
    if how == 'raise':
        raise args[0]
    if how == 'fail':
        raise args[0]('it fails')
    if how == 'unpicklable':
        return lambda: None
    if how == 'clip':
        view = torch.arange(400_000, dtype=torch.uint8).view(4, 100_000)
        return dict(inputs=view, part=view[1:3], label=torch.tensor([3]), pid=os.getpid())
    return how


@pytest.fixture
def call():
    """Calls with time enough for a busy machine."""
    call = ForkedCall(behave, timeout=30.0)
    yield call
    call.close()


def test_results_come_back(call):
    assert call('add', 2, 3) == 5
    assert call('add', 'a', 'b') == 'ab'


def test_large_tensors_use_shared_memory(call):
    clip = call('clip')
    expected = torch.arange(400_000, dtype=torch.uint8).view(4, 100_000)
    assert clip['pid'] != os.getpid()
    assert torch.equal(clip['inputs'], expected)
    assert torch.equal(clip['part'], expected[1:3])
    assert clip['label'].tolist() == [3]
    # Shared already, so that a loader does not copy it once more.
    assert clip['inputs'].is_shared()
    assert clip['inputs'].untyped_storage()._share_fd_cpu_()[1] == 400_000
    clip['inputs'][0] = 7
    assert clip['inputs'][0, 5] == 7


def test_many_calls_leave_no_handles_behind(call):
    call('clip')
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(50):
        call('clip')
    assert len(os.listdir('/proc/self/fd')) == before


def test_child_closes_the_memory_it_has_sent(call):
    call('clip')
    before = call('open files')
    for _ in range(50):
        call('clip')
    assert call('open files') == before


def test_forked_process_gets_a_child_of_its_own(call):
    """After a fork both may call: an answer must not go to the other one."""
    mine = call('clip')['pid']
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            other = call('clip')['pid']
            os.write(writing, str(other).encode())
            call.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    other = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    assert other != mine
    assert call('clip')['pid'] == mine


def test_errors_keep_their_type_and_traceback(call):
    with pytest.raises(UnreadableVideoError) as caught:
        call('raise', UnreadableVideoError('a.mp4', 'no frames'))
    assert (caught.value.filename, caught.value.reason) == ('a.mp4', 'no frames')
    assert 'in behave' in str(caught.value.__cause__)
    assert call('add', 1, 1) == 2


class OddError(Exception):
    """Cannot be read again: pickle would call it with its message alone."""

    def __init__(self, message, *, cause):
        super().__init__(message)


def odd(message):
    return OddError(message, cause=1)


@pytest.mark.parametrize(('make', 'kind'), [(KeyError, KeyError), (odd, RuntimeError)])
def test_an_error_carries_the_line_in_which_it_was_raised(call, make, kind):
    with pytest.raises(kind, match='it fails') as caught:
        call('fail', make)
    lines = Path(__file__).read_text().splitlines()
    number = next(i for i, line in enumerate(lines, start=1) if "args[0]('it fails')" in line)
    assert raised_in(caught.value) == f'{__file__}, line {number}'


def test_unpicklable_result_is_error(call):
    with pytest.raises(RuntimeError, match=r'[Pp]ickl|local object'):
        call('unpicklable')
    assert call('add', 1, 1) == 2


def test_hang_holding_the_gil_is_ended():
    call = ForkedCall(behave, timeout=2.0)
    start = time.monotonic()
    with pytest.raises(CallTimedOut, match='longer than 2 s'):
        call('hang')
    assert time.monotonic() - start < 20
    assert call('add', 1, 1) == 2
    call.close()


def test_crash_and_kill_are_distinguished(call):
    with pytest.raises(CallCrashed, match='SIGSEGV'):
        call('die', signal.SIGSEGV)
    with pytest.raises(RuntimeError, match='SIGKILL: did the system run out of memory'):
        call('die', signal.SIGKILL)
    assert call('add', 1, 1) == 2


def test_native_handlers_do_not_keep_a_crashed_child():
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = libc.signal(signal.SIGILL, 1)  # SIG_IGN
    call = ForkedCall(behave, timeout=5.0)
    try:
        call.start()
        with pytest.raises(CallCrashed, match='SIGILL'):
            call('die', signal.SIGILL)
    finally:
        libc.signal(signal.SIGILL, before)
        call.close()


def test_call_is_repeated_after_a_long_suspension(call, tmp_path):
    # The timer that ends a child whose parent is gone goes on while both are stopped.
    assert call('die once', signal.SIGALRM, tmp_path / 'died') == 'lives'


def test_an_interrupted_call_does_not_answer_the_next(call):
    def interrupt(*_):
        raise KeyboardInterrupt

    assert call('slow') == 'slow'
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            call('slow')
    finally:
        signal.signal(signal.SIGALRM, before)
    assert call('add', 1, 1) == 2


def test_child_process_answers_while_its_job_is_asked_to_end(call):
    child = call('clip')['pid']
    os.kill(child, signal.SIGTERM)
    assert call('clip')['pid'] == child


def test_child_process_ends_with_its_owner():
    call = ForkedCall(behave, timeout=5.0)
    child = call('clip')['pid']
    del call
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_pickled_copy_starts_its_own_child(call):
    other = copy.deepcopy(call)
    assert other('clip')['pid'] != call('clip')['pid']
    other.close()


def test_a_spawned_call_does_what_a_forked_one_does(tmp_path):
    call = SpawnedCall(behave, timeout=30.0)
    assert call('clip')['inputs'][1, 3] == (100_003) % 256
    test_errors_keep_their_type_and_traceback(call)
    test_unpicklable_result_is_error(call)
    test_an_error_carries_the_line_in_which_it_was_raised(call, odd, RuntimeError)
    test_an_interrupted_call_does_not_answer_the_next(call)
    test_crash_and_kill_are_distinguished(call)
    child = call('clip')['pid']
    closing = threading.Timer(0.5, call.close)
    closing.start()
    with pytest.raises(RuntimeError, match='closed before its answer came'):
        call('slow hang')
    closing.join()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_spawned_call_that_hangs_is_ended():
    call = SpawnedCall(behave, timeout=2.0)  # which does not count the start of the child
    with pytest.raises(CallTimedOut, match='longer than 2 s'):
        call('hang')
    assert call('add', 1, 1) == 2
    call.close()


def test_a_fault_of_windows_is_a_crash():
    told = end_of(7, 0xC0000005)
    assert isinstance(told, CallCrashed)
    assert str(told) == 'crashed (0xC0000005)'
    assert str(end_of(7, 3)) == 'the reading process 7 was ended by exit status 3'


def ask_two_that_hang():
    """Print the processes of two calls, which then hang."""

    def ask(how):
        call = ForkedCall(behave, timeout=60.0)
        # In one piece: two threads write, and `print` writes the end of the line by itself.
        sys.stdout.write(f'{call("clip")["pid"]}\n')
        call(how)

    threading.Thread(target=ask, args=('slow hang',)).start()
    ask('hang')


def test_children_end_with_a_killed_parent(tmp_path):
    """Also one that hangs in native code, and siblings that hold each other's sockets."""
    run = Forked(ask_two_that_hang, (), tmp_path / 'output.txt')
    until = time.monotonic() + 60
    while not (run.output.exists() and run.output.read_text().count('\n') == 2):
        assert time.monotonic() < until, run.output.read_text()
        time.sleep(0.05)
    pids = [int(line) for line in run.output.read_text().split()]
    assert all(map(is_running, pids))
    time.sleep(0.5)
    os.kill(run.processes[0].pid, signal.SIGKILL)  # it alone, not the group
    run.wait()
    until = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < until, pids
        time.sleep(0.1)


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(') ')[2][0] != 'Z'
    except OSError:
        return False


def hang_at_the_second():
    dog = Watchdog(1.0)
    for name in ('good.mp4', "it's (bad).mp4"):
        dog.watch(name)
        if 'bad' in name:
            hang_with_the_lock()
        dog.done()


def test_watchdog_kills_process_hanging_with_gil(tmp_path):
    run = Forked(hang_at_the_second, (), tmp_path / 'output.txt')
    assert run.wait(60) == [-signal.SIGKILL]
    output = run.output.read_text()
    assert '"it\'s (bad).mp4" took longer than 1 s (decode_timeout)' in output
    assert 'good.mp4' not in output


def test_watchdog_spares_responsive_processes():
    dog = Watchdog(0.3)
    for _ in range(3):
        dog.watch('clip')
        time.sleep(0.05)
        dog.done()
    time.sleep(0.6)
    process = dog._process
    assert process.poll() is None
    del dog
    assert process.wait(timeout=5) is not None


SUSPENDED_SCRIPT = """
import sys, time
from mmaction.utils.forked_call import ForkedCall
from mmaction.utils.watchdog import Watchdog
def sleep():
    for _ in range(10):
        time.sleep(0.05)
    return 'read'
call, dog = ForkedCall(sleep, 1.0), Watchdog(1.0)
call.start()
dog.watch('clip.mp4')
print('reading', flush=True)
print(call() if sys.argv[1] == 'call' else sleep())
"""


@pytest.mark.parametrize('how', ['call', 'watchdog'])
def test_time_while_stopped_does_not_count(how):
    """As a suspended job of Slurm, and a laptop that was closed."""
    process = subprocess.Popen(
        [sys.executable, '-c', SUSPENDED_SCRIPT, how],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == 'reading\n'
    # The watchdog itself goes on if only the process that it watches is stopped.
    send = os.killpg if how == 'call' else os.kill
    time.sleep(0.1)
    send(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    send(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=30)[0] == 'read\n'
    assert process.returncode == 0
