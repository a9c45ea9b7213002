"""The loggers of the command line: a short training without a network, read back."""

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


def losses_in_wandb(folder):
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    (file,) = folder.rglob('*.wandb')
    store = DataStore()
    store.open_for_scan(str(file))
    losses = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            if 'loss' in (item.key, *item.nested_key):
                losses.append(float(item.value_json))
    return losses


def losses_in_mlflow(folder):
    from mlflow.tracking import MlflowClient

    (store,) = folder.rglob('mlruns')
    client = MlflowClient(f'file://{store}')
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return [metric.value for metric in client.get_metric_history(runs[0].info.run_id, 'loss')]


def losses_in_trackio(folder):
    import json
    import sqlite3

    (database,) = (folder / 'trackio').rglob('mmaction.db')
    with sqlite3.connect(database) as connection:
        rows = connection.execute('SELECT metrics FROM metrics ORDER BY step').fetchall()
    found = [json.loads(text) for (text,) in rows]
    return [row['loss'] for row in found if 'loss' in row]


@pytest.mark.parametrize('name', LOGGERS)
def test_losses_are_logged_offline(tmp_path, monkeypatch, name):
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    for key, value in dict(
        WANDB_MODE='offline',
        WANDB_DIR=tmp_path,
        WANDB_SILENT='true',
        MLFLOW_ALLOW_FILE_STORE='true',
        TRACKIO_DIR=tmp_path / 'trackio',
    ).items():
        monkeypatch.setenv(key, str(value))
    cfg = toy_config(tmp_path / 'run')
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
    add_loggers(cfg, [name])
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    runner.visualizer.close()
    expected = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(expected) == runner.max_iters
    assert globals()[f'losses_in_{name}'](tmp_path) == pytest.approx(expected, rel=1e-3)
