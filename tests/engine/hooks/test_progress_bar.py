import io
import logging
import os
import re
import select
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmaction.engine.hooks.progress_bar import ProgressHook
from tests.engine.toy import Run, build_runner, log_of, short_config, toy_config
from tests.processes import Forked


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


def test_bar_of_a_run_by_iterations_comes_back_after_a_validation(tmp_path, monkeypatch):
    screen = Watched()
    monkeypatch.setattr(sys, 'stdout', screen)
    cfg = short_config(tmp_path, [dict(type='ProgressHook')])
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=2)
    cfg.param_scheduler = []
    build_runner(cfg).train()
    monkeypatch.undo()
    bars = re.findall(r'training .*?(\d)/6', screen.getvalue())
    assert bars[-1] == '6'
    assert {'2', '4'} <= set(bars)


def test_no_progress_bar_without_terminal(tmp_path, capsys):
    runner = build_runner(short_config(tmp_path, [dict(type='ProgressHook')]))
    runner.train()
    shown = capsys.readouterr()
    assert '7/7' not in shown.err
    assert '%|' not in shown.out


fcntl, pty, termios = (pytest.importorskip(name) for name in ('fcntl', 'pty', 'termios'))


def output_on_a_terminal(function, *arguments):
    """What a person at a terminal of 120 columns sees of a call, with its escape codes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 120, 0, 0))
    run = Forked(function, arguments, Path(os.ttyname(theirs)))
    shown = b''
    while run.processes[0].is_alive() or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 65536)
    os.close(theirs)
    os.close(ours)
    assert run.wait() == [0], shown.decode()
    return shown.decode()


def watched(work_dir):
    cfg = toy_config(work_dir)
    cfg.train_cfg.max_epochs = 2
    cfg.train_dataloader.dataset.delay = 0.02
    hooks = ('ProgressHook', 'DataTimeHook', 'StartReportHook')
    cfg.custom_hooks = [dict(type=name) for name in hooks]
    build_runner(cfg).train()


def test_terminal_shows_progress_bar_below_log_lines(tmp_path):
    shown = output_on_a_terminal(watched, tmp_path)
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
