import pytest

from mmaction.engine.runner.checkpoint import load_checkpoint_file
from mmaction.errors import ConfigError
from mmaction.utils.io import partial_path
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config


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
    Run(cfg).check()
    names = sorted(p.name for p in tmp_path.glob('*.pth'))
    assert names[1:] == ['epoch_3.pth', 'epoch_4.pth']
    assert names[0].startswith('best_acc_top1_epoch_')
    best = load_checkpoint_file(tmp_path / names[0])
    assert 'optimizer' not in best
    info = last_checkpoint(tmp_path)['message_hub']['runtime_info']
    assert info['best_ckpt'] == best.name
    scores = last_checkpoint(tmp_path)['message_hub']['log_scalars']['val/acc/top1']['values']
    assert info['best_score'] == scores.max()


def test_save_best_of_unknown_metric_is_error(tmp_path):
    cfg = toy_config(tmp_path, **{'default_hooks.checkpoint.save_best': 'acc/top3'})
    with pytest.raises(ConfigError, match=r'gives no "acc/top3", but acc/top1, acc/mean1'):
        build_runner(cfg).train()
