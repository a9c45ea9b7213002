import re

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from mmaction.engine.optimizers.amp import precision_of
from mmaction.engine.runner.checkpoint import save_checkpoint_file, write_pointer
from mmaction.errors import CheckpointError, ConfigError
from tests.engine.toy import (
    Run,
    build_runner,
    last_checkpoint,
    losses,
    scalars_of,
    toy_config,
    without_chance,
)


@pytest.mark.dist
def test_two_processes_follow_the_curve_of_one(tmp_path):
    one = without_chance(toy_config(tmp_path / 'one', **{'train_dataloader.batch_size': 4}))
    two = without_chance(toy_config(tmp_path / 'two', **{'train_dataloader.batch_size': 2}))
    for cfg, processes in ((one, 1), (two, 2)):
        cfg.train_dataloader.dataset.size = 16
        cfg.default_hooks.checkpoint.update(interval=1)
        Run(cfg, processes).check()
    first, second = (last_checkpoint(cfg.work_dir) for cfg in (one, two))
    # The same clips in the same steps, BatchNorm over both processes, gradients
    # averaged: what differs is the order of sums, 1e-7 a step, which AdamW's
    # division by small second moments can enlarge some hundred times.
    for name, value in first['state_dict'].items():
        torch.testing.assert_close(value, second['state_dict'][name], rtol=1e-3, atol=1e-4)
    running = first['state_dict']['backbone.blocks.0.1.attn.lr.1.running_var']
    assert not torch.equal(running, torch.ones_like(running))
    val = [ckpt['message_hub']['log_scalars']['val/acc/top1']['values'] for ckpt in (first, second)]
    assert torch.equal(*val)
    # What is logged is the mean of both halves. Losses are about 1.3 and each is a sum of
    # products in another order: 1e-7 of them a step, more as the weights part.
    curves = [losses(cfg.work_dir) for cfg in (one, two)]
    assert curves[0].shape == (16,)
    torch.testing.assert_close(*curves, rtol=1e-5, atol=0)
    torch.testing.assert_close(curves[0][0], curves[1][0], rtol=1e-6, atol=0)


@pytest.mark.dist
def test_zero_shards_the_optimizer_and_resumes(tmp_path):
    whole, half = (toy_config(tmp_path / name) for name in ('whole', 'half'))
    for cfg in (whole, half):
        cfg.train_cfg.max_epochs = 2
        cfg.optim_wrapper.optimizer = dict(
            type='ZeroRedundancyOptimizer', optimizer_type='AdamW', lr=5e-3
        )
    Run(whole, 2).check()
    half.custom_hooks.append(dict(type='StopAfter', step=6))
    assert Run(half, 2).wait() == [143, 143]
    half.custom_hooks.pop()
    half.resume = True
    Run(half, 2).check()
    first, second = (last_checkpoint(cfg.work_dir)['state_dict'] for cfg in (whole, half))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_same_seed_gives_the_same_curve(tmp_path):
    curves = []
    for name, seed in (('a', 5), ('b', 5), ('c', 6)):
        cfg = toy_config(tmp_path / name, **{'randomness.seed': seed})
        Run(cfg).check()
        curves.append(scalars_of(cfg.work_dir))
        for line in curves[-1]:
            line.pop('time', None), line.pop('data_time', None)
    assert curves[0] == curves[1] != curves[2]
    assert len(curves[0]) > 5


def test_iteration_and_epoch_loops_are_equal(tmp_path):
    cfg = toy_config(tmp_path / 'epochs')
    by_iter = toy_config(tmp_path / 'steps', custom_hooks=cfg.custom_hooks)
    by_iter.train_cfg = dict(by_epoch=False, max_iters=28, val_interval=7)
    # Schedulers by epoch take the epochs of an epoch loop.
    for scheduler in cfg.param_scheduler:
        scheduler.update(by_epoch=False, convert_to_iter_based=False)
    cfg.param_scheduler[0].end = by_iter.param_scheduler[0].end = 7
    by_iter.param_scheduler = cfg.param_scheduler
    Run(cfg).check()
    Run(by_iter).check()
    first, second = (last_checkpoint(c.work_dir) for c in (cfg, by_iter))
    for name, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][name]), name


def test_truncated_newest_checkpoint_falls_back_to_previous(tmp_path):
    cfg = toy_config(tmp_path)
    Run(cfg).check()
    newest = tmp_path / 'iter_28.pth'
    newest.write_bytes(newest.read_bytes()[:2000])
    runner = build_runner(toy_config(tmp_path, resume=True))
    runner.prepare('train')
    assert runner._resume_point[0].name == 'iter_27.pth'
    (log,) = [p for p in tmp_path.glob('*/*.log') if runner.timestamp in p.name]
    assert 'iter_28.pth is cut off or damaged' in log.read_text()


def test_all_checkpoints_unreadable(tmp_path):
    for name in ('iter_1.pth', 'iter_2.pth'):
        (tmp_path / name).write_bytes(b'PK')
    with pytest.raises(CheckpointError, match='none of the 2 checkpoints'):
        build_runner(toy_config(tmp_path, resume=True)).prepare('train')


def test_resuming_bare_weights_is_error(tmp_path):
    runner = build_runner(toy_config(tmp_path / 'a'))
    save_checkpoint_file({'state_dict': runner.bare_model.state_dict()}, tmp_path / 'w.pth')
    cfg = toy_config(tmp_path / 'b', resume=True, load_from=str(tmp_path / 'w.pth'))
    with pytest.raises(CheckpointError, match='no state of a run to resume'):
        build_runner(cfg).train()


def test_resume_with_another_world_size(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks.append(dict(type='StopAfter', step=6))
    assert Run(cfg, 2).wait() == [143, 143]
    cfg.custom_hooks.pop()
    cfg.resume = True
    log = tmp_path / 'reads.txt'
    cfg.train_dataloader.dataset.log = str(log)
    Run(cfg).check()
    output = (tmp_path / 'output.txt').read_text()
    assert 'written by 2 processes and is resumed by 1' in output
    # 14 clips in 4 steps of 2 x 2: step 6 is the second of epoch 2, after 8 of its clips.
    assert 'step 6 becomes 11' in output
    # and one in the trial before training
    assert len(log.read_text().split()) == 14 * 4 - 14 - 8 + 1
    whole = toy_config(tmp_path / 'whole')
    Run(whole).check()
    rates = [
        last_checkpoint(c.work_dir)['message_hub']['log_scalars']['train/lr']['values'][-17:]
        for c in (cfg, whole)
    ]
    torch.testing.assert_close(*rates, rtol=1e-12, atol=0)


def test_auto_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    runner = build_runner(toy_config(tmp_path, resume=True))
    runner.prepare('train')
    assert runner._resume_point is None


def test_unrelated_run_in_work_dir_is_not_resumed(tmp_path):
    save_checkpoint_file({}, tmp_path / 'iter_99.pth')
    write_pointer(tmp_path, tmp_path / 'iter_99.pth')
    cfg = toy_config(tmp_path)
    cfg.train_cfg.max_epochs = 1
    build_runner(cfg).train()
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_7.pth')


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_load_from_reports_what_was_not_loaded(tmp_path, key):
    source = build_runner(toy_config(tmp_path / 'a'))
    path = tmp_path / 'weights.pth'
    weights = source.bare_model.state_dict()
    save_checkpoint_file(weights if key is None else {key: weights}, path)
    cfg = toy_config(tmp_path / 'b', load_from=str(path))
    cfg.model.cls_head.num_classes = 9
    cfg.model.data_preprocessor.blending.num_classes = 9
    runner = build_runner(cfg)
    runner.prepare('train')
    runner.call_hook('before_run')
    runner.load_or_resume()
    for name, value in source.bare_model.backbone.state_dict().items():
        assert torch.equal(value, runner.bare_model.backbone.state_dict()[name])
    (log,) = (tmp_path / 'b').glob('*/*.log')
    assert 'cls_head.fc_cls.weight ((4, 8) in the file, (9, 8) here)' in log.read_text()


def test_a_config_without_training_cannot_be_trained(tmp_path):
    changes = dict.fromkeys(('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'))
    runner = build_runner(toy_config(tmp_path, **changes))
    with pytest.raises(ConfigError, match='has no train_cfg and train_dataloader'):
        runner.prepare('train')


@pytest.mark.parametrize(('mode', 'times'), [('train', 1), ('test', 0)])
def test_lost_hooks_are_told_once_and_of_a_training(tmp_path, monkeypatch, mode, times):
    monkeypatch.setattr('mmaction.engine.runner.runner.lost_hooks', lambda cfg: 'own.py lost them')
    runner = build_runner(toy_config(tmp_path))
    runner.prepare(mode)
    runner.prepare(mode)
    assert next(tmp_path.glob('*/*.log')).read_text().count('own.py lost them') == times


def test_testing_requires_all_weights(tmp_path):
    path = tmp_path / 'weights.pth'
    weights = build_runner(toy_config(tmp_path / 'a')).bare_model.state_dict()
    weights.pop('cls_head.fc_cls.bias')
    save_checkpoint_file({'state_dict': weights}, path)
    runner = build_runner(toy_config(tmp_path / 'b', load_from=str(path)))
    with pytest.raises(CheckpointError, match='not in the file: cls_head'):
        runner.test()


def test_auto_scale_lr_uses_clips_per_update(tmp_path, capsys):
    cfg = toy_config(tmp_path, auto_scale_lr=dict(enable=True, base_batch_size=16))
    runner = build_runner(cfg)
    runner.prepare('train')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    # 2 clips x 2 accumulated steps of 16
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(5e-3 / 4)]
    text = 'learning rate x 0.25: 4 clips per update, 16 as base. Adam learns less at a lower rate'
    assert text in capsys.readouterr().out


def test_fsdp_wrapper_is_refused(tmp_path):
    wrapper = dict(type='MMFullyShardedDataParallel')
    with pytest.raises(ConfigError, match=r'model_wrapper_cfg.*ZeroRedundancyOptimizer'):
        build_runner(toy_config(tmp_path, model_wrapper_cfg=wrapper))


def test_single_process_is_not_wrapped_in_ddp(tmp_path):
    assert not isinstance(build_runner(toy_config(tmp_path)).model, MMDistributedDataParallel)


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
    told = 'float16 is made for GPUs and far slower than fp32 on a CPU'
    assert shown.count(told) == (dtype == 'float16')
    assert shown.count('AmpOptimWrapper: trains in bf16, which many CPUs') == (dtype is None)
    assert re.search(rf'device: .*, {precision}\n', shown)
    assert precision_of(runner.optim_wrapper) == precision
