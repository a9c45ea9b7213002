"""What the start report says of time and memory."""

import datetime
import re

import pytest

from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner import forecast as module
from mmaction.engine.runner.dry_run import DryRun
from mmaction.engine.runner.forecast import Forecast, how_long, rounded, when
from tests.engine.toy import toy_config


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (4.4, '4 s'),
        (89, '89 s'),
        (119, '2 min'),
        (5280, '88 min'),
        (12_000, '3 h 20 min'),
        (200_000, '2 days 7 h'),
    ],
)
def test_how_long(seconds, text):
    assert how_long(seconds) == text


def test_when_names_another_day():
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d', when(30 * 3600))
    soon = datetime.datetime.now() + datetime.timedelta(seconds=1)
    assert when(1).endswith(soon.strftime('%H:%M'))


@pytest.mark.parametrize(('number', 'text'), [(7, 7), (42, 42), (1237, 1200), (99_999, 99_000)])
def test_batch_is_rounded_down(number, text):
    assert rounded(number) == text


def test_batch_that_does_not_fit_is_said():
    dry = DryRun(64, 1.0, 20 * 10**9, 10**8, 8 * 10**9, 12)
    text = '\n'.join(Forecast(dry, 1.5, 3000.0, 60.0).lines(on_gpu=False, runs=3))
    assert 'about 51 min; 3 runs: 2 h 33 min, until ' in text
    assert '(1.5 s a step, 60 s for validation)' in text
    assert 'about 20 GB of 8 GB (training process); a batch of 64 may not fit: the largest' in text


def test_every_training_says_it_before_the_first_step(tmp_path, capsys):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks = [dict(type='StartReportHook')]
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    said = capsys.readouterr().out
    before, _, _ = said.partition('Epoch(train)')
    assert re.search(r'time:  about \d+ s, until \d\d:\d\d \([\d.e-]+ s a step', before)
    assert re.search(r'memory: about [\d.]+ GB of .* the largest batch that fits is about', before)


def test_forecast_counts_validations_and_steps_that_are_left(tmp_path):
    """Against the run itself: so many steps, so many validations."""
    cfg = toy_config(tmp_path)
    cfg.train_cfg.update(max_epochs=5, val_interval=2)
    runner = ActionRunner.from_cfg(cfg)
    runner.prepare('train')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    found = module.forecast(runner)
    assert found.training == pytest.approx(found.step * runner.max_iters)
    if runner.val_loop is not None:
        # after epochs 2, 4 and 5
        one = found.validation / 3
        runner.train_loop._epoch = 4
        assert module.forecast(runner).validation == pytest.approx(one, rel=5)


def test_batch_above_the_number_of_clips_is_tried_with_those(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.train_dataloader.batch_size = 10**8
    runner = ActionRunner.from_cfg(cfg)
    runner.prepare('train')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    assert module.forecast(runner).dry.batch == len(runner.train_dataloader.dataset)
