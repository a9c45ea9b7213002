from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.hooks.run_summary import StartReportHook, clip_facts, promised_weights
from mmaction.structures import ActionDataSample
from tests.engine.toy import build_runner, log_of, short_config


def test_run_summary_precedes_first_step(tmp_path):
    cfg = short_config(tmp_path, [dict(type='StartReportHook')])
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
    assert '7 steps in 1 epoch, AdamW, learning rate 0.0005 at the start, seed 5' in report


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


def sample(**facts):
    return dict(data_samples=[ActionDataSample(metainfo=facts), ActionDataSample()])


def test_batch_and_schedule_of_several_ranks_on_resume():
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(batch_size=3), world_size=4, iter=10, max_iters=40,
        max_epochs=2, seed=7,
    )  # fmt: skip
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.125)
    wrapper = SimpleNamespace(_accumulative_counts=2, optimizer=optimizer)
    hook = StartReportHook()
    assert hook._batch(runner, wrapper) == (
        'batch: 24 clips per update (3 per process x 4 processes x 2 steps accumulated)'
    )
    assert hook._schedule(runner, wrapper) == (
        'run:   40 steps from step 10 in 2 epochs, SGD, learning rate 0.125 at the start, seed 7'
    )


def test_frozen_parameters_are_counted():
    model = torch.nn.Sequential(torch.nn.Linear(99, 100), torch.nn.Linear(299, 100))
    model[0].requires_grad_(False)
    text = StartReportHook()._model(SimpleNamespace(model=model, world_size=1), 'fp32')
    assert '0.04 M parameters (0.01 M frozen)' in text
