import math

import pytest
import torch

from mmaction.errors import TrainingError
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config


def test_persistent_nan_loss_stops_run_and_saves_batch(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.optim_wrapper.update(accumulative_counts=1)
    cfg.train_dataloader.update(batch_size=14)
    cfg.train_dataloader.dataset.bad = 3
    runner = build_runner(cfg)
    with pytest.raises(
        TrainingError, match=r'3 updates in a row.*step 3, learning rate.*clip_3'
    ) as e:
        runner.train()
    saved = torch.load(tmp_path / 'nonfinite_step_3_process_0.pth', weights_only=False)
    assert 'clip_3.mp4' in saved['files']
    assert saved['step'] == 3
    assert math.isnan(saved['losses']['loss'])
    assert str(tmp_path / 'nonfinite_step_3_process_0.pth') in str(e.value)
    assert all(bool(torch.isfinite(v).all()) for v in runner.bare_model.state_dict().values())


def test_nonfinite_batch_within_accumulation_window_is_named(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.train_dataloader.dataset.size = 4
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_dataloader.batch_size = 1
    cfg.optim_wrapper.accumulative_counts = 4
    cfg.train_dataloader.dataset.bad = 1  # the second of four steps
    runner = build_runner(cfg)
    with pytest.raises(TrainingError, match=r'step 12, .* on clip_1\.mp4; this batch is in .*_10_'):
        runner.train()
    saved = torch.load(tmp_path / 'nonfinite_step_10_process_0.pth', weights_only=False)
    assert saved['files'] == ['clip_1.mp4']
    assert all(bool(torch.isfinite(v).all()) for v in runner.bare_model.state_dict().values())


@pytest.mark.dist
def test_nonfinite_loss_on_one_rank_skips_all_ranks(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.optim_wrapper.update(accumulative_counts=1)
    cfg.train_dataloader.dataset.bad = 3
    Run(cfg, 2).check()
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint['optimizer']['skip_counts'] == (4, 0, True)  # once per epoch
    assert all(bool(torch.isfinite(v).all()) for v in checkpoint['state_dict'].values())
    assert 'update skipped (1 in a row)' in (tmp_path / 'output.txt').read_text()
