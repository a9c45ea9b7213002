import re
from types import SimpleNamespace

from mmaction.engine.hooks import data_time as module
from mmaction.engine.hooks.data_time import DataTimeHook
from mmaction.engine.throughput import throughput
from tests.engine.toy import build_runner, log_of, short_config


def data_time(data, step, **kwargs):
    """What the hook says of an epoch of 10 steps."""
    hook, said = DataTimeHook(**kwargs), []
    scalars = {
        f'train/{name}': SimpleNamespace(current=lambda value=value: value)
        for name, value in (('data_time', data), ('time', step))
    }
    runner = SimpleNamespace(
        message_hub=SimpleNamespace(log_scalars=scalars),
        train_dataloader=SimpleNamespace(num_workers=2),
        logger=SimpleNamespace(warning=said.append),
    )
    for _ in range(2):
        hook.before_train_epoch(runner)
        for index in range(10):
            hook.after_train_iter(runner, index)
        hook.after_train_epoch(runner)
    return said


def test_slow_data_loading_is_reported_once():
    (said,) = data_time(0.62, 1.0)
    assert said.startswith('62% of the time is spent waiting for data')
    assert 'num_workers more than 2' in said


def test_fast_data_loading_is_not_reported():
    assert data_time(0.1, 1.0) == []


def epochs(*waits, **kwargs):
    """What the hook says of epochs of steps that take 1 s, given what each waits for data."""
    hook, said, scalars = DataTimeHook(**kwargs), [], {}
    runner = SimpleNamespace(
        message_hub=SimpleNamespace(log_scalars=scalars),
        train_dataloader=SimpleNamespace(num_workers=2),
        logger=SimpleNamespace(warning=said.append),
    )
    for steps in waits:
        hook.before_train_epoch(runner)
        for index, wait in enumerate(steps):
            for name, value in (('data_time', wait), ('time', 1.0)):
                scalars[f'train/{name}'] = SimpleNamespace(current=lambda value=value: value)
            hook.after_train_iter(runner, index)
        hook.after_train_epoch(runner)
    return [text[:3] for text in said]


def test_first_steps_of_an_epoch_do_not_count():
    assert epochs([1.0] * 5 + [0.1] * 5) == []
    assert epochs([1.0] * 5 + [0.1] * 5, warm_up=0) == ['55%']


def test_each_epoch_is_measured_by_itself():
    """0.4, 0.5 and 0.7 of the time: only a share that is much worse than before is reported."""
    assert epochs([0.4] * 9, [0.5] * 9, [0.7] * 9) == ['40%', '70%']
    assert epochs([0.2] * 9, [0.4] * 9) == ['40%']


def rates(tmp_path, delay, interval=4, **kwargs):
    """What a run says of its loader and model, where reading a clip takes `delay` s."""
    cfg = short_config(tmp_path, hooks=[dict(type='ThroughputHook', interval=interval, **kwargs)])
    cfg.train_dataloader.dataset.update(delay=delay, size=24)
    runner = build_runner(cfg)
    runner.train()
    return [line for line in log_of(runner).splitlines() if 'throughput:' in line]


def test_slow_loader_bounds(tmp_path):
    line = rates(tmp_path, 0.1, warm_up=1)[0]
    assert line.endswith(' would be enough')
    reading, model = map(
        float, re.search(r'reading (\S+) and the model (\S+) clips/s', line).groups()
    )
    assert 1 < reading < 10.1  # a clip takes 0.1 s, and what a busy machine adds
    assert model > reading
    assert 'take turns' in line


def test_rates_count_the_clips_of_a_batch(tmp_path, monkeypatch):
    counted = []

    def measure(clips, *times):
        counted.append(clips)
        return throughput(clips, *times)

    monkeypatch.setattr(module, 'throughput', measure)
    rates(tmp_path, 0.0, interval=4, warm_up=0)  # 12 steps of 2 clips
    assert counted == [8, 8, 8]
