"""mmengine's own Runner, as notebooks use it, with a config of this project as it is."""

import shutil
import threading
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmaction.engine import ActionRunner
from tests.video_factory import write_video

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('digits')
    for i in range(4):
        write_video(folder / f'{i}.mp4', 20, 48, 48, fps=12)
    for split in ('train', 'val'):
        (folder / f'{split}.txt').write_text(''.join(f'{i}.mp4 {i % 2}\n' for i in range(4)))
    return folder


def config(data, work_dir, epochs=1):
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.randomness = dict(seed=3)
    cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval = epochs, 1
    cfg.default_hooks.checkpoint.interval = 1
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0)
        for key in ('persistent_workers', 'prefetch_factor', 'pin_memory'):
            loader.pop(key, None)
        loader.dataset.data_root = str(data)
    # Beside the hooks of the config: those that mmaction2's default_runtime has, and the rest.
    cfg.default_hooks.sync_buffers = dict(type='SyncBuffersHook')
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=True, interval=1)
    cfg.custom_hooks.append(dict(type='TestResultsHook', dump=str(work_dir / 'dump.pkl')))
    cfg.visualizer = dict(type='ActionVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    return cfg


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """A run of one epoch by each runner."""
    runs = {}
    for kind in (Runner, ActionRunner):
        runner = kind.from_cfg(config(data, tmp_path_factory.mktemp(kind.__name__)))
        before = weights(runner)
        runner.train()
        runs[kind] = runner, before
    return runs


def test_train_val_and_test(trained):
    runner, before = trained[Runner]
    assert runner.iter == 2
    assert any(not torch.equal(before[name], value) for name, value in weights(runner).items())
    assert set(runner.val()) == {'acc/top1', 'acc/top5', 'acc/mean1'}
    assert set(runner.test()) == {'acc/top1', 'acc/top5', 'acc/mean1'}
    names = {path.name for path in Path(runner.work_dir).rglob('*') if path.is_file()}
    assert {'epoch_1.pth', 'last_checkpoint', 'curve.png', 'metrics.json', 'dump.pkl'} <= names
    assert {'run.json', '0.png'} <= names
    (log,) = Path(runner.log_dir).glob('*.log')
    assert log.read_text(encoding='utf-8').count('before the first step') == 1


def test_weights_equal_those_of_our_runner(trained):
    found = weights(trained[Runner][0])
    for name, value in weights(trained[ActionRunner][0]).items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize(
    ('first', 'second'), [(Runner, Runner), (ActionRunner, Runner), (Runner, ActionRunner)]
)
def test_resume_from_either_runner(trained, data, tmp_path, first, second):
    shutil.copytree(trained[first][0].work_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    cfg = config(data, tmp_path, epochs=2)
    cfg.resume = True
    runner = second.from_cfg(cfg)
    started = []
    loop = runner.train_loop
    original = loop.run_epoch
    loop.run_epoch = lambda: (started.append((runner.epoch, weights(runner))), original())
    runner.train()
    ((epoch, resumed),) = started
    assert (epoch, runner.epoch, runner.iter) == (1, 2, 4)
    for name, value in saved.items():
        assert torch.equal(value, resumed[name]), name


def test_label_outside_the_head_is_told_before_the_first_step(data, tmp_path):
    cfg = config(data, tmp_path)
    cfg.model.cls_head.num_classes = 1
    with pytest.raises(ValueError, match='has label 1, but the head has num_classes=1'):
        Runner.from_cfg(cfg).train()


def test_train_in_another_thread(data, tmp_path):
    """Signals can be handled in the main thread alone; a notebook server may use another."""
    runner = Runner.from_cfg(config(data, tmp_path))
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.iter == 2
