import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmaction.errors import FileWriteError
from mmaction.utils.io import (
    JsonLines,
    atomic_path,
    lock,
    partial_path,
    remove_partials,
    write_bytes,
    write_json,
    write_lines,
)


def test_lines_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'new' / ('x' * 251 + '.txt')
    write_lines(path, ['a', 'b\udcff'])
    assert path.read_bytes() == b'a\nb\xff\n'

    def lines():
        yield 'half'
        raise KeyError

    with pytest.raises(KeyError):
        write_lines(path, lines())
    assert path.read_bytes() == b'a\nb\xff\n'
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize('durable', [False, True])
def test_a_failed_block_leaves_the_old_file(tmp_path, durable):
    path = tmp_path / 'file'
    write_bytes(path, b'old', durable=durable)

    def fail():
        with atomic_path(path, durable=durable) as part:
            part.write_bytes(b'ne')
            raise OSError('the disk is full')

    with pytest.raises(OSError, match='full'):
        fail()
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / 'metrics.json'
    write_json(path, {'top1_acc': 0.5})
    with pytest.raises(TypeError):
        write_json(path, {'top1_acc': object()})
    assert json.loads(path.read_text()) == {'top1_acc': 0.5}


def test_the_new_file_has_the_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / 'file', b'')
    finally:
        os.umask(old)
    assert (tmp_path / 'file').stat().st_mode & 0o777 == 0o640


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('old')
    code = (
        'import sys, time\nfrom mmaction.utils.io import atomic_path\n'
        'with atomic_path(sys.argv[1]) as part:\n    part.write_text("half")\n    time.sleep(60)\n'
    )
    process = subprocess.Popen([sys.executable, '-c', code, str(path)])
    until = time.monotonic() + 30
    while not list(tmp_path.glob('.*.part')) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob('.*.part'))
    assert path.read_text() == 'old'
    remove_partials(tmp_path)
    write_bytes(path, b'new')
    assert os.listdir(tmp_path) == ['file']


def test_parts_have_names_of_their_own(tmp_path):
    """Two processes that write one file must not write to one part."""
    assert partial_path(tmp_path / 'a') != partial_path(tmp_path / 'a')
    with atomic_path(tmp_path / 'a') as mine, atomic_path(tmp_path / 'a') as other:
        mine.write_bytes(b'mine')
        other.write_bytes(b'other')
    assert (tmp_path / 'a').read_bytes() == b'mine'


def test_only_leftovers_of_our_own_are_removed(tmp_path):
    (tmp_path / 'sub').mkdir()
    left = [partial_path(tmp_path / 'a'), partial_path(tmp_path / 'sub' / 'b')]
    left[0].write_bytes(b'')
    left[1].mkdir()
    (left[1] / 'img_00001.jpg').write_bytes(b'')
    others = [tmp_path / '.download.part', tmp_path / 'film.mp4.part', tmp_path / '.a']
    for path in others:
        path.write_bytes(b'')
    remove_partials(tmp_path)
    assert not left[0].exists()
    assert left[1].exists()
    remove_partials(tmp_path, recursive=True)
    assert not left[1].exists()
    assert all(path.exists() for path in others)


def test_parts_of_a_living_process_stay(tmp_path, holder):
    """It may write to a folder below, whose lock is another."""
    writer = holder(tmp_path / 'below')
    part = tmp_path / 'below' / f'.{"0" * 16}.{writer.pid}-{"0" * 8}.part'
    part.write_bytes(b'half')
    remove_partials(tmp_path, recursive=True)
    assert part.exists()
    writer.kill()
    writer.wait()
    remove_partials(tmp_path, recursive=True)
    assert not part.exists()


def test_durable_files_reach_the_disk_before_their_name(tmp_path, monkeypatch):
    """File, then rename, then folder: in any other order a power cut can lose the old file too."""
    calls = []
    fsync, replace = os.fsync, Path.replace  # in Python 3.10 not a call of os.replace

    def noted_fsync(handle):
        is_folder = os.path.isdir(f'/proc/self/fd/{handle}')
        calls.append('sync folder' if is_folder else 'sync file')
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', noted_fsync)
    monkeypatch.setattr(Path, 'replace', lambda *args: (calls.append('rename'), replace(*args)))
    write_bytes(tmp_path / 'a', b'x', durable=True)
    assert calls == ['sync file', 'rename', 'sync folder']


LOCKING = """
import os, sys, time
from mmaction.utils.io import lock
with lock(sys.argv[1], 'tool', is_file=sys.argv[3] == 'file'):
    if sys.argv[2] == 'fork' and os.fork() == 0:
        os.setsid()
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Starts a process that holds the lock of a path."""
    children = []

    def start(path, how='alone', kind='folder'):
        command = [sys.executable, '-c', LOCKING, str(path), how, kind]
        children.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        )
        assert int(children[-1].stdout.readline())
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ('name', 'kind'), [('folder', 'folder'), ('prepared.v2', 'folder'), ('list.jsonl', 'file')]
)
def test_a_lock_keeps_other_processes_out(tmp_path, holder, name, kind):
    path = tmp_path / name
    process = holder(path, kind=kind)
    if kind == 'folder':
        path.mkdir(exist_ok=True)
    with (
        pytest.raises(BlockingIOError, match=f'{name} is in use by another tool .process'),
        lock(path, 'tool', is_file=kind == 'file'),
    ):
        pass
    process.kill()
    process.wait()
    with lock(path, 'tool', is_file=kind == 'file'):
        assert sorted(tmp_path.rglob('.*lock'))
    assert not sorted(tmp_path.rglob('.*lock'))


def test_a_lock_does_not_outlive_its_process(tmp_path, holder):
    """Children that are forked do not hold it."""
    process = holder(tmp_path, 'fork')
    process.kill()
    process.wait()
    with lock(tmp_path, 'tool'):
        pass


FULL_DISK = """
import resource, sys
from mmaction.utils.cli import user_errors
from mmaction.utils import io
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
with user_errors(setup=False):
    getattr(io, sys.argv[1])(sys.argv[2], eval(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ('function', 'value'),
    [
        ('write_json', '["x" * 99999]'),
        ('write_bytes', 'bytes(99999)'),
        ('write_lines', '["x" * 99999]'),
        ('write_text', '"x" * 99999'),
    ],
)
def test_full_disk_is_one_sentence(tmp_path, function, value):
    """While training and testing, too, where other errors keep their traceback."""
    path = tmp_path / 'out'
    path.write_text('old')
    command = [sys.executable, '-c', FULL_DISK, function, str(path), value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, f'error: cannot write {path}: File too large\n')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['out']


def test_lines_are_added_whole_or_named(tmp_path):
    path = tmp_path / 'a' / 'notes.jsonl'
    with JsonLines(path) as notes:
        notes.add({'a': 1})
    with path.open('a') as file:
        file.write('{"half')
    with JsonLines(path) as notes:
        notes.add(['\udcff'])
        assert [*map(json.loads, path.read_text().split('\n')[:3:2])] == [{'a': 1}, ['\udcff']]
    code = FULL_DISK.replace('getattr(io, sys.argv[1])(', 'io.JsonLines(io.Path(sys.argv[1])).add(')
    code = code.replace('sys.argv[2], eval(sys.argv[3])', '"x" * 99999')
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f'error: cannot write {path}: File too large\n')


def test_a_lock_holds_on_a_full_disk(tmp_path):
    """Whose name could not be written into it."""
    code = (
        'import resource, sys\nfrom mmaction.utils.io import lock\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n'
        'with lock(sys.argv[1], "tool"):\n    print(open(sys.argv[1] + "/.lock").read() == "")\n'
    )
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True)
    assert done.stdout == b'True\n'


def test_path_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / 'file').touch()
    for path in (tmp_path, tmp_path / 'file' / 'out.json'):
        with pytest.raises(FileWriteError, match=f'^cannot write {path}: '):
            write_json(path, 1)
