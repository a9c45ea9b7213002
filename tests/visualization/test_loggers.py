"""The loggers of the command line: a short training without a network, read back."""

import json

import pytest

from mmaction.config.from_args import LOGGERS, add_loggers
from mmaction.engine.runner import ActionRunner
from tests.engine.toy import toy_config


def losses_in_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = folder.rglob('events.out.tfevents*')
    log = EventAccumulator(str(events))
    log.Reload()
    return [event.value for event in log.Scalars('loss')]


def losses_in_mlflow(folder):
    from mlflow.tracking import MlflowClient

    store = min((folder / 'run').rglob('vis_data'), key=lambda path: len(path.parts))
    client = MlflowClient(f'file://{store}')
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return [metric.value for metric in client.get_metric_history(runs[0].info.run_id, 'loss')]


def losses_in_trackio(folder):
    import sqlite3

    (database,) = (folder / 'trackio').rglob('mmaction*.db')
    with sqlite3.connect(database) as connection:
        rows = connection.execute('SELECT metrics FROM metrics ORDER BY step').fetchall()
    found = [json.loads(text) for (text,) in rows]
    return [row['loss'] for row in found if 'loss' in row]


@pytest.mark.parametrize('name', LOGGERS)
def test_losses_are_logged_offline(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for key, value in dict(
        WANDB_MODE='offline',
        WANDB_DIR=tmp_path,
        WANDB_SILENT='true',
        TRACKIO_DIR=tmp_path / 'trackio',
    ).items():
        monkeypatch.setenv(key, str(value))
    pytest.importorskip(name)  # which reads them
    cfg = toy_config(tmp_path / 'run')
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    add_loggers(cfg, [name])
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    # MLflow keeps a copy further down
    local = min((tmp_path / 'run').rglob('scalars.json'), key=lambda path: len(path.parts))
    rows = [json.loads(line) for line in local.read_text().splitlines()]
    expected = [row['loss'] for row in rows if 'loss' in row]
    assert len(expected) == runner.max_iters
    if name == 'wandb':
        # Its file has a format of its own: the names and numbers are in it as text.
        (file,) = tmp_path.rglob('*.wandb')
        assert all(repr(loss).encode() in file.read_bytes() for loss in expected)
    else:
        found = globals()[f'losses_in_{name}'](tmp_path)
        assert found == pytest.approx(expected, rel=1e-5)
