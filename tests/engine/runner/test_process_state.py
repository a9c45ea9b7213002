"""A run leaves the process as it found it."""

import atexit
import logging
import multiprocessing
import signal
import warnings

import pytest
from torch._inductor import config as inductor

from mmaction.engine.runner.dataloader_workers import workers_within
from tests.engine.toy import build_runner, toy_config


def state():
    return dict(
        filters=list(warnings.filters),
        handlers={number: signal.getsignal(number) for number in signal.valid_signals()},
        exit_handlers=atexit._ncallbacks(),
        freezing=inductor.freezing,
        level=logging.getLogger('torch.utils.cpp_extension').level,
        children=multiprocessing.active_children(),
    )


def config(work_dir):
    options = {'train_dataloader.num_workers': 1, 'test_dataloader.num_workers': 1}
    cfg = toy_config(work_dir, compile=dict(backend='eager'), **options)
    cfg.train_dataloader.persistent_workers = True
    cfg.train_cfg.max_epochs = 1
    # Batches of one size: each other one would be compiled as well.
    for split, clips in (('train', 4), ('val', 2), ('test', 2)):
        cfg[f'{split}_dataloader'].dataset.size = clips
    return cfg


def test_training_and_testing_change_nothing_outside(tmp_path):
    first = config(tmp_path / 'first')
    first.val_cfg = first.val_dataloader = first.val_evaluator = None
    first.default_hooks.checkpoint.save_best = None
    build_runner(first).train()  # libraries set up what they need, once
    runner = build_runner(config(tmp_path / 'second'))
    before = state()
    runner.train()
    runner.test()
    assert state() == before
    runner.val()  # loaders that kept their workers start new ones
    assert multiprocessing.active_children() == []


def test_workers_are_ended_when_a_run_fails(tmp_path, monkeypatch):
    cfg = toy_config(tmp_path, **{'train_dataloader.num_workers': 2})
    runner = build_runner(cfg)
    runner.prepare('train')

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.train_loop, 'run_iter', fail)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert multiprocessing.active_children() == []


def test_children_of_others_are_left_alone():
    ours = multiprocessing.Process(target=signal.pause, daemon=True)
    ours.start()
    try:
        with workers_within():
            other = multiprocessing.Process(target=signal.pause, daemon=True)
            other.start()
        assert ours.is_alive()
        assert not other.is_alive()
    finally:
        ours.kill()
        ours.join()
