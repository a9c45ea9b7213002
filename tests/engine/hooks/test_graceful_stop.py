import os
import signal
from types import SimpleNamespace

import pytest
import torch

from mmaction.engine.hooks.graceful_stop import StopHook
from tests.engine.toy import Run, build_runner, last_checkpoint, short_config, toy_config


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_signal_saves_checkpoint_and_run_resumes(tmp_path, name):
    whole, cfg = toy_config(tmp_path / 'whole'), toy_config(tmp_path / 'half')
    for each in (whole, cfg):
        each.train_cfg.max_epochs = 2
        each.param_scheduler.pop()
        each.default_hooks.checkpoint.interval = 100
    cfg.custom_hooks.append(dict(type='StopAfter', step=5, name=name))
    assert Run(cfg).wait() == [128 + signal.Signals[name]]
    assert last_checkpoint(cfg.work_dir)['meta']['iter'] == 5
    cfg.custom_hooks.pop()
    cfg.resume = True
    Run(cfg).check()
    Run(whole).check()
    first, second = (last_checkpoint(c.work_dir)['state_dict'] for c in (whole, cfg))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.dist
def test_signal_to_workers_does_not_break_last_step(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    cfg.train_dataloader.dataset.update(delay=0.05, log=str(tmp_path / 'reads.txt'))
    run = Run(cfg, 2)
    log = tmp_path / 'reads.txt'
    while not log.exists() or len(log.read_text().split()) < 12:
        assert all(p.is_alive() for p in run.processes), run.output.read_text()
    run.send(signal.SIGTERM)
    assert run.wait() == [143, 143], run.output.read_text()
    assert last_checkpoint(tmp_path)['meta']['iter'] >= 1


def test_signal_during_validation_reruns_it_on_resume(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks.append(dict(type='StopInValidation'))
    assert Run(cfg).wait() == [143]
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint['meta']['iter'] == 7
    assert 'val/acc/top1' not in checkpoint['message_hub']['log_scalars']
    cfg.custom_hooks.pop()
    cfg.resume = True
    cfg.default_hooks.checkpoint.interval = 1
    Run(cfg).check()
    values = last_checkpoint(tmp_path)['message_hub']['log_scalars']['val/acc/top1']['values']
    assert len(values) >= 3  # the first validation is among them
    whole = toy_config(tmp_path / 'whole', **{'default_hooks.checkpoint.interval': 1})
    Run(whole).check()
    first = last_checkpoint(tmp_path / 'whole')
    assert torch.equal(first['message_hub']['log_scalars']['val/acc/top1']['values'], values)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGUSR1'])
def test_signals_of_terminals_and_schedulers_are_noted(name):
    before = signal.getsignal(getattr(signal, name))
    runner = SimpleNamespace(stop_signal=None, iter=3, hooks=[])
    hook = StopHook()
    hook.before_train(runner)
    try:
        assert signal.getsignal(getattr(signal, name)) != before
        signal.raise_signal(getattr(signal, name))
        assert runner.stop_signal == getattr(signal, name)
    finally:
        hook._restore()
    assert signal.getsignal(getattr(signal, name)) == before


def test_second_ctrl_c_ends_at_once_unless_it_is_the_same_one():
    before = {name: signal.getsignal(getattr(signal, name)) for name in StopHook.signals}
    runner = SimpleNamespace(stop_signal=None, iter=3, hooks=[])
    hook = StopHook()
    hook.before_train(runner)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        # The terminal and torchrun both pass one Ctrl-C on.
        os.kill(os.getpid(), signal.SIGINT)
        assert runner.stop_signal == signal.SIGINT
        hook._first -= 10
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert {name: signal.getsignal(getattr(signal, name)) for name in before} == before
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def test_checkpoint_of_a_stopped_run_is_the_last_one(tmp_path):
    cfg = short_config(tmp_path, [dict(type='StopHook'), dict(type='StopAfter', step=5)])
    build_runner(cfg).train()
    # Checkpoints come every 3 steps: the one of step 5 is there because of the signal.
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_5.pth')
