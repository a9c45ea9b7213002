import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmaction.utils.io import atomic_path, partial_path, write_bytes, write_json, write_lines


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
    while not partial_path(path).is_file() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial_path(path).is_file()
    assert path.read_text() == 'old'
    write_bytes(path, b'new')
    assert os.listdir(tmp_path) == ['file']
