import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader

from mmaction.engine.runner.dataloader_workers import start_worker
from mmaction.utils.isolated_call import start_plain_worker
from tests.engine.toy import Run, last_checkpoint, toy_config
from tests.processes import Forked
from tests.utils.test_isolated_call import is_running


@pytest.mark.skipif(not hasattr(signal, 'SIGUSR1'), reason='no such signal on this system')
def test_sigusr1_does_not_kill_workers(tmp_path):
    log = tmp_path / 'reads.txt'
    cfg = toy_config(tmp_path)
    # Workers that are not forked do not inherit what the process does with the signal.
    cfg.train_dataloader.update(num_workers=1, multiprocessing_context='spawn')
    cfg.train_dataloader.dataset.update(delay=0.05, log=str(log))
    run = Run(cfg)
    while not log.exists() or len(log.read_text().split()) < 12:
        assert run.processes[0].is_alive(), run.output.read_text()
        time.sleep(0.01)
    run.send(signal.SIGUSR1)  # to the process and its workers
    assert run.wait() == [128 + signal.SIGUSR1], run.output.read_text()
    assert 'SIGUSR1: stopped after step' in run.output.read_text()
    assert last_checkpoint(tmp_path)['meta']['iter'] >= 1


def hold_batches(context, init):
    """Print the worker of a loader, and take the first of its batches only."""
    clips = torch.zeros(8, 15_000)  # sent as bytes, of which a pipe holds one
    options = dict(prefetch_factor=4, worker_init_fn=init, multiprocessing_context=context)
    loader = DataLoader(clips, None, num_workers=1, **options)
    batches = iter(loader)
    next(batches)
    print(batches._workers[0].pid)
    time.sleep(1000)


@pytest.mark.parametrize(
    ('context', 'init'),
    [('fork', start_worker), ('forkserver', start_worker), ('spawn', start_plain_worker)],
)
def test_workers_end_with_a_process_that_is_killed(tmp_path, context, init):
    """They would wait for ever for someone to take what they have sent."""
    run = Forked(hold_batches, (context, init), tmp_path / 'output.txt')
    until = time.monotonic() + 60
    while not (run.output.exists() and run.output.read_text().endswith('\n')):
        assert time.monotonic() < until, run.output.read_text()
        time.sleep(0.05)
    worker = int(run.output.read_text())
    assert is_running(worker)
    os.kill(run.processes[0].pid, signal.SIGKILL)  # it alone, not the group
    run.wait()
    until = time.monotonic() + 20
    while is_running(worker):
        assert time.monotonic() < until
        time.sleep(0.1)
