import io
import json
import logging
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.hooks.data_time import DataTimeHook
from mmaction.engine.hooks.run_summary import clip_facts, promised_weights
from mmaction.engine.hooks.unreadable_clips import UnreadableClipsHook
from mmaction.structures import ActionDataSample
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config


def log_of(runner):
    with open(runner.logger.log_file) as file:
        return file.read()


def short(work_dir, hooks=(), **changes):
    """A run of one epoch with the given hooks."""
    cfg = toy_config(work_dir, **changes)
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks = list(hooks)
    return cfg


def test_run_summary_precedes_first_step(tmp_path):
    cfg = short(tmp_path, [dict(type='StartReportHook')])
    cfg.train_dataloader.dataset.pipeline = []
    cfg.train_dataloader.dataset.pop('pipeline')
    runner = build_runner(cfg)
    runner.train()
    text = log_of(runner)
    report = text[text.index('before the first step') : text.index('Epoch(train)')]
    assert 'train: 14 clips of 4 classes (labels 0 to 3)' in report
    assert 'val:   7 clips of 4 classes (labels 0 to 3)' in report
    parameters = sum(p.numel() for p in runner.bare_model.parameters())
    assert f'DualFormer, {parameters / 1e6:.2f} M parameters; device: CPU' in report
    assert 'fp32' in report
    assert 'batch: 4 clips per update (2 per process x 2 steps accumulated)' in report
    assert '7 steps in 1 epochs, AdamW, learning rate 0.0005 at the start, seed 5' in report


def test_clip_shape_description():
    sample = dict(type='SampleFrames', clip_len=32, frame_interval=2)
    train = [sample, dict(type='Resize', scale=(224, 112), keep_ratio=False)]
    assert clip_facts(train) == '32 frames at interval 2 of 112x224'
    test = [dict(sample, num_clips=4), dict(type='ThreeCrop', crop_size=224)]
    assert clip_facts(test) == '12 views of 32 frames at interval 2 of 224x224'
    assert clip_facts([dict(type='Flip')]) == ''


@pytest.mark.parametrize(
    ('name', 'given', 'warned'),
    [
        ('dualformer_tiny_patch244_window877_kinetics400_1k', {}, 'random weights'),
        ('dualformer_base_patch244_window877_kinetics600_22k', {}, 'random weights'),
        ('dualformer_small_patch244_window877_hmdb51', {}, 'load_from=FILE'),
        ('dualformer_tiny_kinetics400_1k', {'model.backbone.pretrained': 'x.pth'}, ''),
        ('dualformer_tiny_kinetics400_1k', {'load_from': 'x.pth'}, ''),
        ('dualformer_pico_motion_digits', {}, ''),
    ],
)
def test_config_name_promises_pretraining(tmp_path, name, given, warned):
    path = tmp_path / f'{name}.py'
    path.write_text("model = dict(backbone=dict(type='DualFormer'))\nload_from = None")
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(given)
    warning = promised_weights(cfg)
    assert warned in warning
    assert bool(warning) == bool(warned)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_signal_saves_checkpoint_and_run_resumes(tmp_path, name):
    whole, cfg = toy_config(tmp_path / 'whole'), toy_config(tmp_path / 'half')
    for each in (whole, cfg):
        each.train_cfg.max_epochs = 2
        each.param_scheduler.pop()
        each.default_hooks.checkpoint.interval = 100
    cfg.custom_hooks.append(dict(type='StopAfter', step=5, name=name))
    assert Run(cfg).wait() == [128 + signal.Signals[name]]
    assert last_checkpoint(cfg.work_dir)['meta']['iter'] == 5
    cfg.custom_hooks.pop()
    cfg.resume = True
    Run(cfg).check()
    Run(whole).check()
    first, second = (last_checkpoint(c.work_dir)['state_dict'] for c in (whole, cfg))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.dist
def test_signal_to_workers_does_not_break_last_step(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    cfg.train_dataloader.dataset.update(delay=0.05, log=str(tmp_path / 'reads.txt'))
    run = Run(cfg, 2)
    log = tmp_path / 'reads.txt'
    while not log.exists() or len(log.read_text().split()) < 12:
        assert all(p.is_alive() for p in run.processes), run.output.read_text()
    run.send(signal.SIGTERM)
    assert run.wait() == [143, 143], run.output.read_text()
    assert last_checkpoint(tmp_path)['meta']['iter'] >= 1


def test_signal_during_validation_reruns_it_on_resume(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks.append(dict(type='StopInValidation'))
    assert Run(cfg).wait() == [143]
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint['meta']['iter'] == 7
    assert 'val/acc/top1' not in checkpoint['message_hub']['log_scalars']
    cfg.custom_hooks.pop()
    cfg.resume = True
    cfg.default_hooks.checkpoint.interval = 1
    Run(cfg).check()
    values = last_checkpoint(tmp_path)['message_hub']['log_scalars']['val/acc/top1']['values']
    assert len(values) >= 3  # the first validation is among them
    whole = toy_config(tmp_path / 'whole', **{'default_hooks.checkpoint.interval': 1})
    Run(whole).check()
    first = last_checkpoint(tmp_path / 'whole')
    assert torch.equal(first['message_hub']['log_scalars']['val/acc/top1']['values'], values)


class Watched(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar_fields(tmp_path, monkeypatch):
    screen = Watched()
    monkeypatch.setattr(sys, 'stdout', screen)
    runner = build_runner(short(tmp_path, [dict(type='ProgressHook')]))
    runner.train()
    monkeypatch.undo()
    shown = screen.getvalue()
    for text in ('training', '7/7', 'loss ', 'lr ', 'step ', 'data ', 'left '):
        assert text in shown, shown
    assert 'Epoch(train)' not in shown
    assert 'Epoch(val)' in shown
    assert 'Epoch(train)' in log_of(runner)


def test_no_progress_bar_without_terminal(tmp_path, capsys):
    runner = build_runner(short(tmp_path, [dict(type='ProgressHook')]))
    runner.train()
    shown = capsys.readouterr()
    assert '7/7' not in shown.err
    assert '%|' not in shown.out


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


def sample(**facts):
    return dict(data_samples=[ActionDataSample(metainfo=facts), ActionDataSample()])


def unreadable_runner(tmp_path, said):
    logger = SimpleNamespace(warning=said.append)
    return SimpleNamespace(work_dir=str(tmp_path), logger=logger, epoch=2, iter=30)


def test_unreadable_clips_are_logged_once_and_counted(tmp_path):
    said = []
    runner = unreadable_runner(tmp_path, said)
    hook = UnreadableClipsHook()
    hook.before_run(runner)
    bad = sample(replaced=[('a b.mp4', 'no frames'), ('c.mp4', 'took longer than 60 s')])
    for index in range(2):
        hook.after_train_iter(runner, index, bad)
    told = ['cannot be read: a b.mp4 (no frames)', 'cannot be read: c.mp4 (took longer than 60 s)']
    assert said == told
    hook.after_train_iter(runner, 2, sample(decoder_fallback=('odd.mp4', 'no seek')))
    hook.after_train_epoch(runner)
    assert said[2] == 'read by PyAV, because decord failed: odd.mp4 (no seek)'
    listed = tmp_path / 'unreadable.txt'
    assert listed.read_text() == 'a b.mp4\tno frames\nc.mp4\ttook longer than 60 s\n'
    assert said[3].startswith('epoch 3: 4 clips could not be read and were replaced by others')
    assert str(listed) in said[3]
    assert said[4] == 'epoch 3: 1 clips were read by PyAV, because decord failed'
    hook.after_train_epoch(runner)
    assert len(said) == 5


def test_resumed_run_extends_unreadable_list(tmp_path):
    said = []
    runner = unreadable_runner(tmp_path, said)
    (tmp_path / 'unreadable.txt').write_text('a.mp4\tno frames\n')
    hook = UnreadableClipsHook()
    hook.before_run(runner)
    hook.after_test_iter(runner, 0, sample(unreadable='no frames', filename='a.mp4'))
    hook.after_test_iter(runner, 1, sample(unreadable='cut off', filename='b.mp4'))
    hook.after_test_epoch(runner)
    assert said[0] == 'cannot be read: b.mp4 (cut off)'
    assert said[1].startswith('test: 2 clips could not be read and count as wrong')
    assert (tmp_path / 'unreadable.txt').read_text() == 'a.mp4\tno frames\nb.mp4\tcut off\n'


def test_run_record_is_written(tmp_path):
    runner = build_runner(short(tmp_path, [dict(type='ProvenanceHook')]))
    runner.train()
    (path,) = tmp_path.glob('*/run.json')
    facts = json.loads(path.read_text())
    assert facts['command'][1:] == sys.argv
    assert facts['seed'] == 5
    assert facts['splits']['train'] == dict(
        clips=14, classes=4, lowest=0, highest=3, unlabeled=False
    )
    assert facts['versions']['torch'] == torch.__version__.split('+')[0]
    assert len(list(tmp_path.glob('*.py'))) == 1  # the full config


def test_training_curve_is_drawn(tmp_path):
    runner = build_runner(short(tmp_path, [dict(type='CurveHook')]))
    runner.train()
    assert (tmp_path / 'curve.png').read_bytes()[:4] == b'\x89PNG'
    assert runner.message_hub.get_info('steps_of_val') == [7]


def test_console_is_brief_and_log_file_complete(tmp_path, capsys):
    runner = build_runner(short(tmp_path))
    runner.train()
    shown = capsys.readouterr().out
    assert 'Hooks will be executed' not in shown
    assert 'Hooks will be executed' in log_of(runner)
    runner.logger.log(logging.WARNING, 'mind this')
    assert 'WARNING: mind this' in capsys.readouterr().out
