import logging
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmaction.engine.optimizers.schedule import run_up_schedulers
from mmaction.engine.runner.checkpoint import plain, save_checkpoint_file, write_pointer
from mmaction.engine.runner.loops import EpochBasedTrainLoop
from mmaction.engine.runner.resume import (
    check_optimizer_state,
    find_resume_point,
    move_position,
    resume_message_hub,
    resume_rank_state,
    set_resume,
)
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config


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


@pytest.mark.parametrize('launcher', ['TORCHELASTIC', 'SLURM'])
def test_run_started_again_goes_on_with_its_own_checkpoint(cfg, tmp_path, monkeypatch, launcher):
    given = str(tmp_path / 'given.pth')
    save_checkpoint_file({}, given)
    monkeypatch.setenv(f'{launcher}_RESTART_COUNT', '1')
    set_resume(cfg, given)
    assert cfg.load_from == given  # nothing saved yet
    save_checkpoint_file({}, tmp_path / 'epoch_1.pth')
    write_pointer(tmp_path, tmp_path / 'epoch_1.pth')
    set_resume(cfg, given)
    assert (cfg.resume, cfg.load_from) == (True, None)


def test_job_started_again_resumes_only_if_asked_to(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv('SLURM_RESTART_COUNT', '1')
    save_checkpoint_file({}, tmp_path / 'epoch_1.pth')
    write_pointer(tmp_path, tmp_path / 'epoch_1.pth')
    set_resume(cfg, None)
    assert cfg.resume is False


def test_seed_of_a_run_that_was_given_none_is_kept(tmp_path):
    def run(name, draw, **changes):
        """NumPy draws the seed; every run would have another one."""
        np.random.seed(draw)
        cfg = toy_config(tmp_path / name, **changes)
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler = cfg.param_scheduler[:1]
        if draw == 1:
            cfg.custom_hooks.append(dict(type='StopAfter', step=3))
        build_runner(cfg).train()
        return last_checkpoint(tmp_path / name)

    stopped = run('half', 1, **{'randomness.seed': None})
    resumed = run('half', 2, resume=True, **{'randomness.seed': None})
    seed = stopped['meta']['seed']
    assert (stopped['meta']['iter'], resumed['meta']['iter']) == (3, 7)
    assert resumed['meta']['seed'] == seed
    assert differences(run('whole', 3, **{'randomness.seed': seed}), resumed) == []


def epoch_loop(steps, batch_size=2):
    loop = object.__new__(EpochBasedTrainLoop)
    loader = SimpleNamespace(batch_size=batch_size)
    loop.dataloader = type('Loader', (), {'__len__': lambda self: steps, **vars(loader)})()
    loop._max_epochs, loop._max_iters = 4, 4 * steps
    return loop


class CountingScheduler:
    def __init__(self, by_epoch):
        self.by_epoch, self.steps = by_epoch, 0

    def step(self):
        self.steps += 1


@pytest.mark.parametrize(
    ('before', 'step', 'clips_per_step', 'now', 'world_size', 'found'),
    [
        (5, 8, 4, 10, 1, 16),  # 3 steps of 4 clips in: 12 clips are 6 steps of 2
        (10, 14, 2, 5, 2, 7),  # 4 steps of 2 in: 8 clips are 2 steps of 2 x 2
        (10, 19, 9, 5, 1, 10),  # more clips than the epoch has now: it ends
        (10, 10, 2, 5, 1, 5),  # between two epochs
    ],
)
def test_position_in_an_epoch_of_another_length(
    before, step, clips_per_step, now, world_size, found
):
    """`before` and `now` are steps of an epoch; one epoch is done."""
    meta = dict(epoch=1, iter=step, steps_per_epoch=before, clips_per_step=clips_per_step)
    loop, schedulers = epoch_loop(now), [CountingScheduler(True), CountingScheduler(False)]
    assert move_position(loop, schedulers, meta, world_size, logging.getLogger('resume'))
    assert (loop._epoch, loop._iter) == (1, found)
    assert [s.steps for s in schedulers] == [1, found]


def test_epoch_that_has_not_ended_does_not_step_its_schedulers():
    """The last step of an epoch may be done and its end not: validation comes in between."""
    schedulers = [CountingScheduler(True), CountingScheduler(False)]
    run_up_schedulers(schedulers, per_epoch=5, epochs=1, steps=10)
    assert [s.steps for s in schedulers] == [1, 10]


def test_gradients_of_a_half_window_are_given_back_by_rank():
    model = torch.nn.Linear(2, 1, bias=False)
    states = [
        dict(random=f'state {rank}', gradients={'weight': torch.full((1, 2), float(rank))})
        for rank in range(2)
    ]
    assert resume_rank_state(states, 1, 2, model) == 'state 1'
    assert model.weight.grad.tolist() == [[1.0, 1.0]]
    # Written by two ranks, resumed by one: nobody's.
    model.weight.grad = None
    assert resume_rank_state(states, 0, 1, model) is None
    assert model.weight.grad is None


def test_what_belongs_to_this_run_is_not_taken_from_the_checkpoint():
    hub = MessageHub('resume test')
    hub.update_info('cfg', 'of now')
    info = dict(cfg='of then', seed=1, experiment_name='then', best_score=0.5)
    resume_message_hub(hub, dict(runtime_info=info, log_scalars={}))
    assert hub.get_info('cfg') == 'of now'
    assert hub.get_info('best_score') == 0.5
    assert hub.get_info('seed') is hub.get_info('experiment_name') is None


def test_logged_values_stay_in_the_next_checkpoint():
    """Also those that this run has not logged again yet, such as metrics of a validation."""
    first, second = MessageHub('first run'), MessageHub('second run')
    for value in (0.25, 0.75):
        first.update_scalar('val/acc/top1', value)
    resume_message_hub(second, plain(first.state_dict()))
    saved = plain(second.state_dict())['log_scalars']['val/acc/top1']
    assert saved['values'].tolist() == [0.25, 0.75]


def test_moments_of_another_shape_are_found_before_the_first_step():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([weight])
    optimizer.state[weight] = dict(exp_avg=torch.zeros(2), exp_avg_sq=torch.zeros(3))
    with pytest.raises(ValueError, match=r'exp_avg_sq does not have the shape \(2,\)'):
        check_optimizer_state(optimizer)


def test_newest_readable_checkpoint_is_taken(tmp_path):
    for step in (1, 2):
        save_checkpoint_file({'step': step}, tmp_path / f'iter_{step}.pth')
        os.utime(tmp_path / f'iter_{step}.pth', (step, step))
    (path, content) = find_resume_point(tmp_path, None, logging.getLogger('resume'))
    assert (path.name, content) == ('iter_2.pth', {'step': 2})
