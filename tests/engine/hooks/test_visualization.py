"""Clips that a run draws while it validates and tests."""

import pytest
from PIL import Image

from mmaction.engine.hooks import VisualizationHook
from tests.engine.toy import build_runner, toy_config


def config(work_dir, **hook):
    cfg = toy_config(work_dir)
    cfg.train_cfg.max_epochs = 1
    cfg.visualizer = dict(type='ActionVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    cfg.default_hooks.visualization = dict(type='VisualizationHook', **hook)
    return cfg


def drawn(folder):
    return sorted(path.parent.name + '/' + path.name for path in folder.rglob('frames_*'))


def test_interval_of_drawn_clips(tmp_path):
    runner = build_runner(config(tmp_path, enable=True, interval=3))
    runner.train()
    assert drawn(tmp_path) == [f'0000{i}_clip_{i}/frames_7' for i in (0, 3, 6)]
    (first,) = tmp_path.rglob('00003_clip_3/frames_7')
    assert sorted(path.name for path in first.iterdir()) == [f'{i}.png' for i in range(4)]
    # clips of 8 x 8 pixels have no room for words
    assert Image.open(first / '0.png').size == (224, 224)


def test_show_dir_of_test(tmp_path):
    out = tmp_path / 'out'
    size = (16, -1)
    cfg = config(
        tmp_path, enable=True, interval=4, out_dir=str(out), out_type='gif', target_resolution=size
    )
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    build_runner(cfg).test()
    assert sorted(path.name for path in out.iterdir()) == [
        '00000_clip_0_0.gif',
        '00004_clip_4_0.gif',
    ]
    assert Image.open(out / '00000_clip_0_0.gif').size == (16, 16)


def test_nothing_unless_enabled(tmp_path):
    build_runner(config(tmp_path, interval=1)).train()
    assert drawn(tmp_path) == []


def test_errors(tmp_path):
    with pytest.raises(ValueError, match='interval=0 must be at least 1'):
        VisualizationHook(interval=0)
    cfg = config(tmp_path, enable=True)
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    with pytest.raises(ValueError, match='the config has Visualizer: set visualizer=dict'):
        build_runner(cfg).train()
