import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from torch.utils.data import DataLoader

from mmaction.datasets import UnreadableVideoError
from mmaction.errors import CheckpointError, ConfigError, TrainingError
from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (ConfigError('a key'), 2),
        (CheckpointError('a file'), 1),
        (TrainingError('a run'), 1),
        (FileNotFoundError('a folder'), 1),
        (ValueError('two\n  lines'), 1),
    ],
)
def test_user_errors_are_one_line(error, status, capsys, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(SystemExit) as end, user_errors(setup=True):
        raise error
    assert end.value.code == status
    own = isinstance(error, (ConfigError, CheckpointError, TrainingError))
    place = '' if own else f' ({__file__}, line 32)'
    shown = capsys.readouterr().err
    assert shown == f'error: {" ".join(str(error).split())}{place}\n'


def test_internal_error_says_how_to_get_traceback(capsys):
    with pytest.raises(SystemExit), user_errors(setup=True):
        {}['missing key']
    first, second = capsys.readouterr().err.splitlines()
    assert first == f'error: missing key ({__file__}, line 42)'
    assert 'MMACTION_TRACEBACK=1' in second


def test_only_rank_0_prints_errors(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('MASTER_ADDR', 'node1')
    with pytest.raises(SystemExit) as end, user_errors(setup=True):
        raise ConfigError('x')
    assert end.value.code == 2
    assert capsys.readouterr().err == ''


def test_a_rank_left_over_from_another_run_is_heard(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    with pytest.raises(SystemExit), user_errors(setup=True):
        raise ConfigError('x')
    assert capsys.readouterr().err == 'error: x\n'


def test_unreadable_clip_in_worker_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    message = (
        'Caught UnreadableVideoError in DataLoader worker process 0.\nOriginal Traceback (most '
        'recent call last):\n  File "x.py"\nmmaction.datasets.errors.UnreadableVideoError: 3 '
        'clips in a row cannot be read\n'
    )
    with pytest.raises(SystemExit) as end, user_errors(setup=False):
        raise UnreadableVideoError(message)
    assert end.value.code == 1
    assert capsys.readouterr().err == 'error: 3 clips in a row cannot be read\n'


def test_foreign_errors_keep_their_traceback(capsys):
    with pytest.raises(ValueError, match='x'), user_errors(setup=False):
        raise ValueError('x')
    with pytest.raises(SystemExit), user_errors(setup=False):
        raise TrainingError('x')


def test_traceback_on_demand(monkeypatch):
    monkeypatch.setenv('MMACTION_TRACEBACK', '1')
    with pytest.raises(ConfigError), user_errors(setup=True):
        raise ConfigError('x')


def test_ctrl_c_is_no_error(capsys):
    with pytest.raises(SystemExit) as end, user_errors(setup=True):
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
    'error', [AssertionError(), AttributeError('x has no y'), RuntimeError('a')]
)
def test_any_error_of_the_setup_is_one_line(error, capsys):
    with pytest.raises(SystemExit), user_errors(setup=True):
        raise error
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f'error: {type(error).__name__}')
    assert 'MMACTION_TRACEBACK=1' in second


@pytest.mark.parametrize('end', [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_data_loading_worker_is_one_line(capsys, end):
    loader = DataLoader(
        list(range(8)),
        num_workers=1,
        worker_init_fn=lambda _: os.kill(os.getpid(), end),
        multiprocessing_context='fork',
    )
    with pytest.raises(SystemExit), user_errors(setup=False):
        list(loader)
    lines = capsys.readouterr().err.splitlines()
    (shown,) = [line for line in lines if line.startswith('error: ')]
    assert shown.startswith('error: DataLoader worker (pid')
    assert ': most often memory ran out' in shown
    assert 'fewer num_workers' in shown


def test_full_memory_is_one_line(capsys):
    with pytest.raises(SystemExit), user_errors(setup=False):
        raise torch.OutOfMemoryError('CUDA out of memory')
    assert 'error: CUDA out of memory. A smaller batch_size' in capsys.readouterr().err


PRINTING = """
from mmaction.utils.cli import user_errors

with user_errors(setup=True):
    {}
    for number in range(100000):
        print(number)
"""


@pytest.mark.parametrize(
    ('first', 'status', 'message'),
    [('', 141, ''), ("raise OSError('no space')", 1, 'error: no space\n')],
)
def test_output_that_nobody_reads_any_more_is_no_error(first, status, message):
    command = [sys.executable, '-c', PRINTING.format(first)]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == message
    assert process.returncode == status


def test_another_broken_pipe_is_an_error(capsys):
    with pytest.raises(SystemExit) as end, user_errors(setup=True):
        raise BrokenPipeError(32, 'Broken pipe')
    assert end.value.code == 1
    assert 'Broken pipe' in capsys.readouterr().err


ENDING = """
import atexit, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from threading import Thread
from mmaction.utils.cli import end_after

class Kept:
    def __del__(self):
        print('taken apart')

def slow(name):
    time.sleep(0.3)
    sys.stdout.write(name + '\\n')

kept = Kept()
folder = tempfile.TemporaryDirectory()

def main():
    Path('folder').write_text(folder.name)
    atexit.register(print, 'registered')
    Thread(target=slow, args=['thread']).start()
    Thread(target=time.sleep, args=[60], daemon=True).start()
    ThreadPoolExecutor(1).submit(slow, 'pool')
    print('main')
    {}

end_after(main)
"""


@pytest.mark.parametrize(
    ('end', 'status', 'message'),
    [
        ('return None', 0, ''),
        ('return 3', 3, ''),
        ('sys.exit(4)', 4, ''),
        ('sys.exit("no")', 1, 'no\n'),
        ('raise KeyboardInterrupt', 130, ''),
        ('raise KeyError("x")', 1, "KeyError: 'x'\n"),
    ],
)
def test_process_ends_at_once_and_loses_nothing(tmp_path, end, status, message):
    """What was printed into a pipe, threads, what is registered, temporary folders: but modules."""
    command = [sys.executable, '-c', ENDING.format(end)]
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr[-len(message) :] if message else done.stderr) == (
        status,
        message,
    )
    lines = done.stdout.split()
    assert lines[0] == 'main'
    assert sorted(lines[1:3]) == ['pool', 'thread']
    assert lines[3:] == ['registered']
    assert not Path((tmp_path / 'folder').read_text()).exists()


RUN = """
import gc, sys
usual = gc.get_threshold()
from mmaction.utils.cli import quick_imports, user_errors
if sys.argv[1] == 'quick':
    quick_imports()
    quick_imports()
import mmengine.optim
print('transformers' in sys.modules, gc.get_stats()[2]['collections'] > 0)
from transformers import Adafactor
print(Adafactor)
with user_errors(setup=True):
    print(gc.get_threshold() == usual)
with user_errors(setup=False):
    print(gc.get_threshold() == usual)
"""


# mmengine's way is slow to see, and only says what is spared.
@pytest.mark.parametrize('how', ['quick', pytest.param('as mmengine does', marks=pytest.mark.slow)])
def test_imports_are_quick_and_transformers_is_imported_when_it_is_needed(tmp_path, how):
    (tmp_path / 'transformers.py').write_text('class Adafactor: pass\n')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), os.getcwd()])}
    done = subprocess.run(
        [sys.executable, '-c', RUN, how], capture_output=True, text=True, env=environment
    )
    slow = how != 'quick'
    assert done.stdout.splitlines() == [
        f'{slow} {slow}',
        "<class 'transformers.Adafactor'>",
        f'{slow}',
        'True',
    ], done.stderr


def test_a_file_that_begins_like_an_option_is_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('-clip.mp4').touch()
    Path('--out').touch()
    parser = Parser()
    parser.add_argument('videos', nargs='+')
    parser.add_argument('--out')
    args = parser.parse_args(['-clip.mp4', 'b.mp4', '--out', 'c'])
    assert (args.videos, args.out) == (['./-clip.mp4', 'b.mp4'], 'c')
    for name in ('-1', '-n5', '--ou', '--', '-7.mp4'):
        Path(name).touch()
    parser.add_argument('-n', type=int)
    args = parser.parse_args(['-n5', '--ou', 'c', '--', '-clip.mp4', '-7.mp4'])
    assert (args.n, args.out, args.videos) == (5, 'c', ['./-clip.mp4', './-7.mp4'])
    assert parser.parse_args(['b.mp4', '-n', '-1']).n == -1
    monkeypatch.setattr(sys, 'argv', ['x', '-clip.mp4'])
    assert parser.parse_args().videos == ['./-clip.mp4']
    with pytest.raises(SystemExit):
        parser.parse_args(['b.mp4', '-other.mp4'])
    assert 'there is no option -other.mp4' in capsys.readouterr().err


WRONG_KINDS = {
    'm.pth c.py': 'm.pth is a checkpoint, expected a config file; are the config and the '
    'checkpoint swapped?',
    'c.py c.py': 'c.py is a config file, expected a checkpoint; are the config and the '
    'checkpoint swapped?',
    'c.py v.MP4': 'v.MP4 is a video, expected a checkpoint',
    'v.MP4 m.pth': 'v.MP4 is a video, expected a config file',
    'c.py m.pth m.pth': 'm.pth is a checkpoint, expected a video file or folder of frames',
}


@pytest.mark.parametrize('line', WRONG_KINDS)
def test_files_of_another_kind_are_told(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ('c.py', 'm.pth', 'v.MP4'):
        Path(name).touch()
    config, checkpoint, *video = line.split()
    args = argparse.Namespace(config=config, checkpoint=checkpoint, video=video)
    with pytest.raises(SystemExit):
        check_files(args, 'config', 'checkpoint', 'video')
    assert capsys.readouterr().err == f'error: {WRONG_KINDS[line]}\n'
    args = argparse.Namespace(config='c.py', checkpoint='m.pth', video=['v.MP4', '.'])
    check_files(args, 'config', 'checkpoint', 'video')


def test_options_of_the_config_may_be_given_several_times():
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    given = ['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'c=3', '--options', 'd=4']
    assert parser.parse_args(given).cfg_options == ['a=1', 'b=2', 'c=3', 'd=4']
    assert parser.parse_args([]).cfg_options == []


def test_every_command_takes_them_from_here():
    root = Path(__file__).parents[2]
    files = [path for top in ('mmaction', 'tools', 'demo') for path in (root / top).rglob('*.py')]
    own = [path for path in files if re.search(r"\(\s*'--cfg-options'", path.read_text('utf-8'))]
    assert [path.name for path in own] == ['cli.py']


@pytest.mark.parametrize('rank', ['0', '1'])
def test_what_gloo_says_of_a_lost_process_is_one_line_of_the_first(monkeypatch, capsys, rank):
    """The process that was lost has told why, which a page of tracebacks would bury."""
    monkeypatch.setenv('RANK', rank)
    monkeypatch.setenv('MASTER_ADDR', 'node1')
    with pytest.raises(SystemExit) as end, user_errors(setup=False):
        raise RuntimeError(
            '[/__w/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:64685: '
            'Connection reset by peer. This is typically caused by a remote worker crashing.'
        )
    assert end.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith('error: another process of this run has ended') == (rank == '0')
    assert shown.count('\n') == (rank == '0')
