"""What resuming with other settings does, and schedules that end with training."""

import copy

import pytest
import torch

from mmaction.engine.optimizers import OptimWrapper
from mmaction.engine.runner.setting_changes import SettingChanges, _compare_groups, load_optimizer
from tests.engine.toy import build_runner, last_checkpoint, log_of, scalars_of, toy_config


def config(work_dir, epochs=2, **changes):
    cfg = toy_config(work_dir, **changes)
    cfg.train_cfg.max_epochs = epochs
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.update(interval=1, by_epoch=True, save_best=None)
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(cls_head=dict(lr_mult=0.5)))
    for key in ('T_max', 'end'):
        cfg.param_scheduler[1].pop(key)
    return cfg


def train(cfg):
    runner = build_runner(cfg)
    runner.train()
    return runner


def rates_of(work_dir, key='lr'):
    return {line['step']: line[key] for line in scalars_of(work_dir) if key in line}


def resumed(tmp_path, change, epochs=2, stop_epoch=1):
    """A run of `epochs` that is resumed after the first, its config changed."""
    cfg = config(tmp_path, epochs)
    train(cfg)
    for name in tmp_path.glob('epoch_*.pth'):
        if name.name != f'epoch_{stop_epoch}.pth':
            name.unlink()
    again = config(tmp_path, epochs)
    again.resume, again.load_from = True, str(tmp_path / f'epoch_{stop_epoch}.pth')
    change(again)
    runner = build_runner(again)
    runner.train()
    return runner


def test_an_unchanged_config_is_resumed_without_a_word(tmp_path):
    text = log_of(resumed(tmp_path, lambda cfg: None))
    assert 'resumes' in text
    assert 'other settings' not in text


def test_a_run_is_extended_by_more_epochs(tmp_path):
    runner = resumed(tmp_path / 'a', lambda cfg: cfg.train_cfg.update(max_epochs=5), stop_epoch=2)
    text = log_of(runner)
    assert 'train_cfg.max_epochs 2 before, 5 now' in text
    assert 'CosineAnnealingLR.T_max 2 before, 5 now' in text
    assert 'the schedule is that of the config from its start, so step 15 has' in text
    train(config(tmp_path / 'b', 5))
    for key in ('lr', 'base_lr'):
        extended, whole = rates_of(tmp_path / 'a', key), rates_of(tmp_path / 'b', key)
        assert len(whole) == 35
        for step in range(15, 36):
            assert extended[step] == pytest.approx(whole[step], rel=1e-6), (key, step)
    assert last_checkpoint(tmp_path / 'a')['meta']['epoch'] == 5


def test_another_batch_size_moves_the_step_and_is_no_other_schedule(tmp_path):
    batches = {'train_dataloader.batch_size': 4}
    text = log_of(resumed(tmp_path / 'a', lambda cfg: cfg.merge_from_dict(batches)))
    assert 'an epoch has 4 steps of 4 clips now and had 7 of 2: step 7 becomes 4' in text
    assert 'other settings' not in text
    train(config(tmp_path / 'b', **batches))
    found, whole = (rates_of(tmp_path / name) for name in 'ab')
    assert [found[step] for step in range(5, 9)] == pytest.approx(list(whole.values())[4:])


@pytest.mark.parametrize(
    ('place', 'value', 'text'),
    [
        ('optim_wrapper.optimizer.lr', 1e-3, 'lr 0.005 before, 0.001 now'),
        ('optim_wrapper.optimizer.weight_decay', 0.5, 'weight_decay 0.02 before, 0.5 now'),
        ('optim_wrapper.optimizer.betas', (0.8, 0.9), 'betas (0.9, 0.999) before, (0.8, 0.9) now'),
        ('param_scheduler.1.eta_min', 1e-3, 'CosineAnnealingLR.eta_min 0.0001 before, 0.001 now'),
        ('optim_wrapper.optimizer.type', 'SGD', 'optimizer AdamW before, SGD now'),
        ('param_scheduler', [dict(type='ConstantLR', factor=0.5)], 'param_scheduler LinearLR, Cos'),
    ],
)
def test_a_changed_setting_is_reported_and_used(tmp_path, place, value, text):
    def change(cfg):
        cfg.merge_from_dict({place: value})

    runner = resumed(tmp_path, change)
    log = log_of(runner)
    assert f'was written with other settings; those of the config are used: {text}' in log
    group = runner.optim_wrapper.optimizer.param_groups[0]
    key = place.rpartition('.')[2]
    if key == 'lr':
        assert group['initial_lr'] == value
        assert max(v for k, v in rates_of(tmp_path).items()) <= 5e-3
        assert rates_of(tmp_path)[8] < 1.1e-3
    elif key in ('weight_decay', 'betas'):
        assert group[key] == value
    assert ('starts without state' in log) == (key == 'type')
    for value in runner.bare_model.state_dict().values():
        assert bool(torch.isfinite(value).all())


def test_a_run_at_its_end_says_how_it_is_extended(tmp_path):
    runner = resumed(tmp_path, lambda cfg: None, stop_epoch=2)
    assert 'is at the end of training already: to extend the run raise' in log_of(runner)


def test_max_epochs_alone_moves_the_end_of_the_cosine(tmp_path):
    for epochs in (1, 3):
        runner = train(config(tmp_path / f'{epochs}', epochs))
        rates = rates_of(tmp_path / f'{epochs}')
        (_, cosine) = runner.param_schedulers
        assert (cosine.T_max, cosine.end) == (epochs, epochs)
        assert 'param_scheduler' not in log_of(runner)
        assert len(rates) == 7 * epochs


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        (dict(T_max=2, end=2), 'ends at epoch 2, but training at epoch 4: the learning rate then'),
        (dict(T_max=9, end=9), 'ends at epoch 9, but training at epoch 4: it is cut off'),
        (dict(T_max=2), 'falls over T_max=2 epochs, but acts until epoch 4'),
        (dict(T_max=2, convert_to_iter_based=True), 'falls over T_max=2 epochs'),
        (dict(end=4), ''),
        (dict(convert_to_iter_based=True), ''),
    ],
)
def test_schedules_that_do_not_end_with_training(tmp_path, given, text):
    cfg = config(tmp_path, 4)
    cfg.param_scheduler[1].update(copy.deepcopy(given))
    runner = build_runner(cfg)
    runner.prepare('train')
    log = log_of(runner)
    assert text in log
    assert ('param_scheduler CosineAnnealingLR' in log) == bool(text)


@pytest.mark.parametrize(('before', 'now'), [(None, True), (True, None)])
def test_implementation_of_a_step_is_that_of_this_run_and_no_change(before, now):
    """A checkpoint of a GPU, with fused AdamW, resumes on a CPU and the other way round."""

    def wrapper(fused):
        model = torch.nn.Linear(2, 2)
        return OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)), model

    (old, model), (new, _) = wrapper(before), wrapper(now)
    model(torch.ones(1, 2)).sum().backward()
    old.optimizer.step()
    changes = SettingChanges()
    _compare_groups(changes, old.optimizer.param_groups, new.optimizer.param_groups)
    assert changes.texts == []
    load_optimizer(new, old.state_dict(), changes)
    assert new.optimizer.param_groups[0]['fused'] is now
    state = next(iter(new.optimizer.state.values()))
    assert float(state['step']) == 1
