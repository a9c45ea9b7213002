import os
import random
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.runner.checkpoint import save_checkpoint_file, write_pointer
from mmaction.engine.runner.resume import set_resume
from tests.engine.toy import Run, last_checkpoint, toy_config


def differences(first, second):
    """Names of what is not bit-equal in weights, EMA, optimizer and logged values."""
    found = []
    for part in ('state_dict', 'ema_state_dict'):
        found += [
            f'{part}.{name}'
            for name, value in first[part].items()
            if not torch.equal(value, second[part][name])
        ]
    for index, state in first['optimizer']['state'].items():
        other = second['optimizer']['state'][index]
        found += [f'optimizer.{index}.{k}' for k in state if not torch.equal(state[k], other[k])]
    scalars, others = (ckpt['message_hub']['log_scalars'] for ckpt in (first, second))
    for name, series in scalars.items():
        if 'time' not in name and not torch.equal(series['values'], others[name]['values']):
            found.append(name)
    return found


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """The last checkpoint of an unbroken run, by number of processes."""
    cache = {}

    def run(processes):
        if processes not in cache:
            work_dir = tmp_path_factory.mktemp('unbroken')
            Run(toy_config(work_dir), processes).check()
            cache[processes] = last_checkpoint(work_dir)
        return cache[processes]

    return run


def lines_of(path):
    return path.read_text().split() if path.exists() else []


def kill_at_random(cfg, processes, log):
    """Start a run and kill it some clips later; returns whether it was still running."""
    # Workers read ahead of the steps.
    most = 12 * processes + 12 * cfg.train_dataloader.num_workers
    wanted = len(lines_of(log)) + random.randint(0, most)
    run = Run(cfg, processes)
    while len(lines_of(log)) < wanted and all(p.is_alive() for p in run.processes):
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.06))
    alive = any(process.is_alive() for process in run.processes)
    if not alive:
        run.check()
    run.kill()
    return alive


# A few kills keep the suite quick; MMACTION_KILLS=12 makes them 12 for each case.
KILLS = int(os.environ.get('MMACTION_KILLS', '3'))


@pytest.mark.dist
@pytest.mark.parametrize(('processes', 'workers'), [(1, 0), (1, 2), (2, 0)])
def test_repeatedly_killed_run_ends_bit_equal(tmp_path, unbroken, processes, workers):
    random.seed(int(os.environ.get('MMACTION_KILL_SEED', '0')) + processes)
    log = tmp_path / 'reads.txt'
    cfg = toy_config(tmp_path / 'run 1', **{'train_dataloader.dataset.log': str(log)})
    cfg.train_dataloader.num_workers = workers
    killed, resumed, runs = 0, set(), 1
    while killed < KILLS or len(resumed) < 2:
        if kill_at_random(cfg, processes, log):
            killed, cfg.resume = killed + 1, True
            pointer = Path(cfg.work_dir, 'last_checkpoint')
            last = Path(pointer.read_text()).name if pointer.exists() else 'the start'
            resumed.add(last)
            print(f'kill {killed} after {len(lines_of(log))} clips; goes on from {last}')
        else:
            print(f'run {runs} is at its end')
            assert differences(unbroken(processes), last_checkpoint(cfg.work_dir)) == []
            runs, cfg.resume = runs + 1, False
            cfg.work_dir = str(tmp_path / f'run {runs}')
    Run(cfg, processes).check()
    assert differences(unbroken(processes), last_checkpoint(cfg.work_dir)) == []
    assert not list(tmp_path.glob('run */.*.part'))


def test_resumed_run_reads_no_clip_twice(tmp_path):
    log, cfg = tmp_path / 'reads.txt', toy_config(tmp_path / 'run')
    cfg.train_dataloader.dataset.log = str(log)
    Run(cfg).check()
    # The first clip is read once more, before training, as a trial.
    trial, *unbroken_reads = lines_of(log)
    assert trial == '0'
    log.unlink()
    half = toy_config(tmp_path / 'half', **{'train_dataloader.dataset.log': str(log)})
    half.custom_hooks.append(dict(type='StopAfter', step=10))
    Run(half).wait()
    assert lines_of(log)[1:] == unbroken_reads[:20]
    log.unlink()
    half.custom_hooks.pop()
    half.resume = True
    Run(half).check()
    assert lines_of(log)[1:] == unbroken_reads[20:]


@pytest.fixture
def cfg(tmp_path):
    return Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=False))


def test_auto_resume_uses_last_checkpoint(cfg, tmp_path):
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'pretrained.pth')
    save_checkpoint_file({}, tmp_path / 'epoch_1.pth')
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)


def test_resume_from_a_file(cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        set_resume(cfg, str(tmp_path / 'x.pth'))
    save_checkpoint_file({}, tmp_path / 'x.pth')
    set_resume(cfg, str(tmp_path / 'x.pth'))
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'x.pth'))


def test_restarted_worker_resumes_only_its_own_run(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    save_checkpoint_file({}, tmp_path / 'epoch_1.pth')
    set_resume(cfg, None)
    assert cfg.resume is False
    write_pointer(tmp_path, tmp_path / 'epoch_1.pth')
    set_resume(cfg, None)
    assert cfg.resume is True
