"""The drawn learning rates are those of a run."""

import pytest

from tests.engine.toy import build_runner, last_checkpoint, toy_config
from tools.analysis_tools import vis_scheduler

CONFIG = 'configs/recognition/dualformer/dualformer_tiny_patch244_window877_kinetics400_1k.py'


@pytest.mark.parametrize('ends', [True, False])
def test_plotted_schedule_equals_a_run(ends, tmp_path):
    cfg = toy_config(tmp_path)
    if not ends:  # as in our configs: the cosine ends with training
        cfg.param_scheduler[-1] = dict(type='CosineAnnealingLR', convert_to_iter_based=True)
    rates = vis_scheduler.learning_rates(cfg, 7)
    build_runner(cfg).train()
    scalars = last_checkpoint(tmp_path)['message_hub']['log_scalars']
    logged = scalars['train/lr']['values'].tolist()
    assert len(rates) == 28
    assert rates[: len(logged)] == pytest.approx(logged, rel=1e-6)


def test_picture(tmp_path, capsys):
    out = tmp_path / 'new' / 'lr.png'
    vis_scheduler.main([CONFIG, '--out', str(out), '--steps', '10'])
    shown = capsys.readouterr().out
    assert '300 steps, learning rate 0.0001 at the start, at most 0.00' in shown
    assert out.read_bytes()[:4] == b'\x89PNG'


def test_wrong_use(tmp_path, capsys):
    with pytest.raises(SystemExit):
        vis_scheduler.main([CONFIG, '--steps', '0'])
    assert '--steps 0 must be at least 1' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        vis_scheduler.main([CONFIG, '--out', str(tmp_path / 'x.png')])
    assert 'error: annotation list' in capsys.readouterr().err
