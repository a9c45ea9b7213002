import os
import re
import struct
import subprocess
import sys

import pytest

from mmaction.engine.optimizers.amp import precision_of
from mmaction.utils.io import partial_path
from tests.engine.toy import Run, build_runner, toy_config

fcntl, pty, termios = (pytest.importorskip(name) for name in ('fcntl', 'pty', 'termios'))

WATCHED = """
import sys
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


@pytest.mark.parametrize(
    ('dtype', 'precision'), [('float16', 'fp32'), ('bfloat16', 'bf16'), (None, 'bf16')]
)
def test_fp16_falls_back_to_fp32_on_a_cpu(tmp_path, dtype, precision, capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    cfg = toy_config(tmp_path)
    cfg.custom_hooks = [dict(type='StartReportHook'), dict(type='StopAfter', step=1)]
    cfg.custom_hooks.append(dict(type='StopHook'))
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype, loss_scale='dynamic')
    runner = build_runner(cfg)
    runner.train()
    shown = capsys.readouterr().out
    assert ('float16 is made for GPUs and far slower than fp32 on a CPU' in shown) == (
        dtype == 'float16'
    )
    assert re.search(rf'device: .*, {precision}\n', shown)
    assert precision_of(runner.optim_wrapper) == precision


def test_partial_checkpoint_of_killed_run_is_removed(tmp_path):
    unfinished = partial_path(tmp_path / 'iter_3.pth')
    others = tmp_path / 'notes.tmp'
    for path in (unfinished, others):
        path.write_text('half')
    cfg = toy_config(tmp_path)
    cfg.train_cfg.max_epochs = 1
    build_runner(cfg).train()
    assert not unfinished.exists()
    assert others.exists()


def test_names_that_are_not_utf8_are_logged(tmp_path, capfd):
    runner = build_runner(toy_config(tmp_path))
    runner.logger.warning('clip g\udcff.mp4 cannot be read')
    assert 'clip g\\udcff.mp4 cannot be read' in next(tmp_path.glob('*/*.log')).read_text()
    assert 'Logging error' not in capfd.readouterr().err
