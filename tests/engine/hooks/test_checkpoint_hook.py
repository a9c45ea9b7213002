import hashlib
from pathlib import Path

import pytest
from mmengine.evaluator import BaseMetric

from mmaction.engine.runner.checkpoint import load_checkpoint_file
from mmaction.errors import ConfigError
from mmaction.registry import METRICS
from mmaction.utils.io import partial_path
from tests.engine.toy import build_runner, last_checkpoint, log_of, toy_config


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


def test_max_keep_ckpts_and_save_best(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.default_hooks.checkpoint.update(interval=1, by_epoch=True, max_keep_ckpts=2)
    build_runner(cfg).train()
    names = sorted(p.name for p in tmp_path.glob('*.pth'))
    assert names[1:] == ['epoch_3.pth', 'epoch_4.pth']
    assert names[0].startswith('best_acc_top1_epoch_')
    best = load_checkpoint_file(tmp_path / names[0])
    assert 'optimizer' not in best
    info = last_checkpoint(tmp_path)['message_hub']['runtime_info']
    assert info['best_ckpt'] == names[0]
    scores = last_checkpoint(tmp_path)['message_hub']['log_scalars']['val/acc/top1']['values']
    assert info['best_score'] == scores.max()


def test_save_best_of_unknown_metric_is_error_before_training(tmp_path):
    cfg = toy_config(tmp_path, **{'default_hooks.checkpoint.save_best': 'acc/top3'})
    with pytest.raises(ConfigError, match=r'gives no "acc/top3", but acc/top1, acc/mean1'):
        build_runner(cfg).prepare('train')


@METRICS.register_module(force=True)
class OneAccuracy(BaseMetric):
    """A metric of a user's."""

    def __init__(self, key='accuracy', **kwargs):
        super().__init__(**kwargs)
        self.key = key

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {self.key: len(results) / 12}


def test_save_best_of_what_a_metric_of_the_users_may_give_is_told_after_validation(tmp_path):
    cfg = toy_config(tmp_path, **{'default_hooks.checkpoint.save_best': 'own/top9'})
    cfg.val_evaluator = [dict(type='AccMetric'), dict(type='OneAccuracy', prefix='own')]
    with pytest.raises(ConfigError, match=r'gives no "own/top9", but .*, own/accuracy'):
        build_runner(cfg).train()


def test_a_metric_whose_name_tells_no_direction(tmp_path):
    cfg = toy_config(tmp_path, **{'default_hooks.checkpoint.save_best': 'agreement'})
    with pytest.raises(ConfigError, match='the name of agreement does not tell whether more or le'):
        build_runner(cfg)
    cfg.default_hooks.checkpoint.save_best = 'auto'
    cfg.val_evaluator = dict(type='OneAccuracy', key='agreement')
    cfg.train_cfg.max_epochs = 3
    runner = build_runner(cfg)
    runner.train()
    assert "set default_hooks.checkpoint.rule='greater' or 'less'" in log_of(runner)
    assert not list(tmp_path.glob('best_*'))


def two_epochs(work_dir, **changes):
    """A run of two epochs that writes a checkpoint after each, without validation."""
    cfg = toy_config(work_dir)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.custom_hooks = []
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks.checkpoint.update(interval=1, by_epoch=True, save_best=None, **changes)
    return cfg


def test_checkpoint_left_by_a_kill_is_removed_on_resume(tmp_path):
    build_runner(two_epochs(tmp_path, max_keep_ckpts=1)).train()
    # Killed between writing epoch 2 and removing epoch 1: the newer file names both.
    info = last_checkpoint(tmp_path)['message_hub']['runtime_info']
    assert info['keep_ckpt_ids'] == [1, 2]
    (tmp_path / 'epoch_1.pth').write_bytes((tmp_path / 'epoch_2.pth').read_bytes())
    cfg = two_epochs(tmp_path, max_keep_ckpts=1)
    cfg.resume, cfg.train_cfg.max_epochs = True, 3
    build_runner(cfg).train()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_3.pth']


def test_published_copy_has_the_keys_that_are_asked_for(tmp_path):
    build_runner(two_epochs(tmp_path, published_keys=['meta', 'state_dict'])).train()
    (path,) = tmp_path.glob('epoch_2-*.pth')
    assert set(load_checkpoint_file(path)) == {'meta', 'state_dict'}
    assert path.stem[-8:] == hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def test_epoch_and_step_of_a_direct_save(tmp_path):
    """As mmengine counts: what ends with the save is done."""
    runner = build_runner(two_epochs(tmp_path))
    runner.train()
    for by_epoch, position in ((True, (3, 14)), (False, (2, 15))):
        runner.save_checkpoint(str(tmp_path), 'now.pth', by_epoch=by_epoch)
        meta = load_checkpoint_file(tmp_path / 'now.pth')['meta']
        assert (meta['epoch'], meta['iter']) == position


def test_best_checkpoint_of_another_work_dir_is_left_alone(tmp_path):
    """A checkpoint notes a name, which is looked for in the folder of this run alone."""
    hook = build_runner(two_epochs(tmp_path / 'run')).hooks
    (hook,) = [one for one in hook if type(one).__name__ == 'CheckpointHook']
    hook.out_dir = str(tmp_path / 'run')
    other = tmp_path / 'best_acc_top1_epoch_1.pth'
    other.touch()
    assert hook._own_best(str(other)) is None
    Path(hook.out_dir, other.name).touch()
    assert hook._own_best(str(other)) == str(Path(hook.out_dir, other.name))
    assert hook._own_best('epoch_1.pth') is None


def test_pointer_of_an_older_run_goes_before_the_first_step(tmp_path):
    """A rank that is started again must not resume what this run has not written."""
    pointer = tmp_path / 'last_checkpoint'
    runner = build_runner(two_epochs(tmp_path))
    (hook,) = [one for one in runner.hooks if type(one).__name__ == 'CheckpointHook']
    pointer.write_text('iter_99.pth')
    runner.prepare('train')
    runner.train_loop._iter = 3
    hook.before_train(runner)
    assert pointer.exists()
    runner._load_from = 'iter_3.pth'  # --resume names it, and not what the pointer does
    hook.before_train(runner)
    assert not pointer.exists()
    pointer.write_text('iter_99.pth')
    runner._load_from = None
    runner.train_loop._iter = 0
    hook.before_train(runner)
    assert not pointer.exists()


def test_better_checkpoint_replaces_the_best_and_is_noted_in_the_last(tmp_path):
    cfg = two_epochs(tmp_path)
    cfg.default_hooks.checkpoint.save_best = 'acc/top1'
    runner = build_runner(cfg)
    runner.train()
    (hook,) = [one for one in runner.hooks if type(one).__name__ == 'CheckpointHook']
    for epoch, score in ((2, 0.5), (3, 0.25), (4, 0.75)):
        runner.train_loop._epoch = epoch
        hook._save_best_checkpoint(runner, {'acc/top1': score})
    assert [path.name for path in tmp_path.glob('best_*')] == ['best_acc_top1_epoch_4.pth']
    info = last_checkpoint(tmp_path)['message_hub']['runtime_info']
    assert (info['best_ckpt'], info['best_score']) == ('best_acc_top1_epoch_4.pth', 0.75)
    # An equal score does not replace it; a better one of the same epoch takes its file.
    for epoch, score in ((5, 0.75), (4, 0.8)):
        runner.train_loop._epoch = epoch
        hook._save_best_checkpoint(runner, {'acc/top1': score})
        assert [path.name for path in tmp_path.glob('best_*')] == ['best_acc_top1_epoch_4.pth']


def test_checkpoint_that_is_saved_again_with_its_best_score_is_kept(tmp_path):
    cfg = two_epochs(tmp_path, max_keep_ckpts=1)
    cfg.default_hooks.checkpoint.save_best = 'acc/top1'
    runner = build_runner(cfg)
    runner.train()
    (hook,) = [one for one in runner.hooks if type(one).__name__ == 'CheckpointHook']
    hook._save_best_checkpoint(runner, {'acc/top1': 0.5})
    assert (tmp_path / 'epoch_2.pth').is_file()
    assert list(hook.keep_ckpt_ids) == [2]
