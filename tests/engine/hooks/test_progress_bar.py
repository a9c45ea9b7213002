import io
import logging
import os
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mmaction.engine.hooks.progress_bar import ProgressHook
from tests.engine.toy import Run, build_runner, log_of, short_config, toy_config


class Watched(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar_fields(tmp_path, monkeypatch):
    screen = Watched()
    monkeypatch.setattr(sys, 'stdout', screen)
    runner = build_runner(short_config(tmp_path, [dict(type='ProgressHook')]))
    runner.train()
    monkeypatch.undo()
    shown = screen.getvalue()
    for text in ('training', '7/7', 'loss ', 'lr ', 'step ', 'data ', 'left '):
        assert text in shown, shown
    assert 'Epoch(train)' not in shown
    assert 'Epoch(val)' in shown
    assert 'Epoch(train)' in log_of(runner)


def test_no_progress_bar_without_terminal(tmp_path, capsys):
    runner = build_runner(short_config(tmp_path, [dict(type='ProgressHook')]))
    runner.train()
    shown = capsys.readouterr()
    assert '7/7' not in shown.err
    assert '%|' not in shown.out


fcntl, pty, termios = (pytest.importorskip(name) for name in ('fcntl', 'pty', 'termios'))


WATCHED = """
import sys
import tests.quick_start
from tests.engine.toy import build_runner, toy_config
cfg = toy_config(sys.argv[1])
cfg.train_cfg.max_epochs = 2
cfg.train_dataloader.dataset.delay = 0.02
cfg.custom_hooks = [dict(type=name) for name in ('ProgressHook', 'DataTimeHook', 'StartReportHook')]
build_runner(cfg).train()
"""


def output_on_a_terminal(code, *arguments):
    """What a person at a terminal of 120 columns sees of a script, with its escape codes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, '-c', code, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, 'PYTHONPATH': os.getcwd()},
    )
    os.close(theirs)
    shown = b''
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def test_terminal_shows_progress_bar_below_log_lines(tmp_path):
    shown = output_on_a_terminal(WATCHED, tmp_path)
    bars = [text for text in re.split(r'[\r\n]+', shown) if text.startswith('epoch 2/2')]
    figures = (
        r'epoch 2/2 100%\|.*\| 7/7, loss \d\.\d{3}  lr \d\.\de-\d\d  step 0\.\d\d s  '
        r'data 0\.\d\d s  left 0:00:0\d  mem \d\.\d GB'
    )
    assert re.fullmatch(figures, bars[-1].strip()), bars[-1]
    assert 'Epoch(train)' not in shown
    assert 'Epoch(val) [2][4/4]' in shown
    assert re.search(r'WARNING.*: \d\d% of the time is spent waiting for data', shown)


def test_plain_log_lines_without_terminal(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks = [dict(type='ProgressHook')]
    run = Run(cfg)
    run.check()
    lines = run.output.read_text()
    assert '%|' not in lines
    assert '\x1b' not in lines
    step = re.search(r'Epoch\(train\) \[1\]\[5/7\].*', lines)
    assert all(name in step[0] for name in ('lr: ', 'eta: ', ' time: ', 'data_time: ', 'loss: '))


def test_console_is_as_before_after_a_run(monkeypatch):
    screen = Watched()
    monkeypatch.setattr(sys, 'stdout', screen)
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(sys.stdout))
    runner = SimpleNamespace(logger=logger)
    hook = ProgressHook()
    hook.before_run(runner)
    logger.info('Epoch(train) [1][5/7]')
    logger.info('saved')
    assert 'Epoch(train)' not in screen.getvalue()
    assert 'saved' in screen.getvalue()
    hook.after_run(runner)
    assert logger.handlers[0].stream is screen
    logger.info('Epoch(train) [2][5/7]')
    assert 'Epoch(train) [2][5/7]' in screen.getvalue()


def test_bar_of_a_resumed_epoch_starts_at_its_step(monkeypatch):
    screen = Watched()
    monkeypatch.setattr(sys, 'stdout', screen)
    runner = SimpleNamespace(
        train_dataloader=range(7), iter=10, epoch=1, max_epochs=3, max_iters=21,
        logger=logging.Logger('run'),
    )  # fmt: skip
    hook = ProgressHook()
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    hook.after_run(runner)
    assert re.search(r'epoch 2/3 +43%\|.*\| 3/7', screen.getvalue())
