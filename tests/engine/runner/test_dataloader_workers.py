import signal
import time

import pytest

from tests.engine.toy import Run, last_checkpoint, toy_config


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
