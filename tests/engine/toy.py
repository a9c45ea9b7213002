"""A recognizer and clips small enough to train for some steps."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
import uuid
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.utils import import_modules_from_strings

from mmaction.datasets.seeding import sample_randomness
from mmaction.engine.runner import trial
from mmaction.registry import DATASETS, HOOKS
from mmaction.structures import ActionDataSample
from tests.processes import Forked

CLASSES = 4

# Tests count reads, so the trial takes one, however long a busy machine makes it.
trial._QUICK = math.inf


@DATASETS.register_module(force=True)
class ToyClips:
    """Clips of noise around a gray level that tells the class.

    Args:
        size: Number of clips.
        log: File to which the index of each clip that is read is appended.
        bad: Index of a clip that is NaN, or None.
        delay: Seconds that reading a clip takes.
        first_label: Label of the first class.
    """

    metainfo = dict(classes=[f'class {i}' for i in range(CLASSES)])

    def __init__(self, size=12, log=None, bad=None, delay=0.0, first_label=0, test_mode=False):
        self.size = size
        self.log = log
        self.bad = bad
        self.delay = delay
        self.first_label = first_label

    def full_init(self):
        """Nothing is read late; `ConcatDataset` asks."""

    def __len__(self):
        return self.size

    def get_data_info(self, index):
        return dict(label=index % CLASSES + self.first_label)

    def __getitem__(self, key):
        if self.log is not None:
            with open(self.log, 'a') as file:
                file.write(f'{int(key)}\n')
        time.sleep(self.delay)
        entropy = getattr(key, 'entropy', (0, 0, int(key)))
        with sample_randomness(*entropy):
            clip = torch.randn(1, 3, 4, 8, 8) * 20 + 60 * (int(key) % CLASSES)
        if self.bad == int(key):
            clip[:] = float('nan')
        label = self.get_data_info(int(key))['label']
        sample = ActionDataSample(metainfo=dict(filename=f'clip_{int(key)}.mp4'))
        return dict(inputs=clip, data_samples=sample.set_gt_label(label))


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """Send a signal to this process after a step."""

    def __init__(self, step, name='SIGTERM'):
        self.step = step
        self.name = name

    def after_train_iter(self, runner, **kwargs):
        if runner.iter + 1 == self.step:
            os.kill(os.getpid(), signal.Signals[self.name])


@HOOKS.register_module(force=True)
class StopInValidation(Hook):
    """Send SIGTERM to this process in the first batch of a validation."""

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        os.kill(os.getpid(), signal.SIGTERM)


@HOOKS.register_module(force=True)
class FailAt(Hook):
    """Raise in the last process at a step; with `once` not in one that was started again."""

    def __init__(self, step, once=False):
        self.step = step
        self.once = once

    def after_train_iter(self, runner, **kwargs):
        started_again = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
        due = runner.iter + 1 == self.step and runner.rank == runner.world_size - 1
        if due and not (self.once and started_again):
            raise RuntimeError(f'this process fails at step {self.step}')


@HOOKS.register_module(force=True)
class SaveBuffers(Hook):
    """Save BatchNorm's statistics of each process after the last step but one."""

    def after_train_iter(self, runner, **kwargs):
        if runner.iter + 2 == runner.max_iters:
            backbone = runner.bare_model.backbone
            parameters = dict(backbone.named_parameters())
            state = backbone.state_dict()
            buffers = {name: value for name, value in state.items() if name not in parameters}
            torch.save(buffers, Path(runner.work_dir, f'buffers_{runner.rank}.pth'))


def toy_config(work_dir, **changes):
    """A run with everything that could go wrong when it is resumed.

    Dropout, drop-path, BatchNorm, mixup, accumulation over 2 steps, an EMA, and
    checkpoints within epochs and accumulation windows. `changes` are dotted keys.
    """
    dataset = dict(type='ToyClips', size=14)
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='EpochSampler', shuffle=True),
    )
    val_loader = copy.deepcopy(loader)
    val_loader['dataset'].update(size=7, test_mode=True)
    val_loader['sampler'] = dict(type='EpochSampler', shuffle=False, round_up=False)
    evaluator = dict(type='AccMetric', metric_options=dict(top_k_accuracy=dict(topk=(1,))))
    cfg = Config(
        dict(
            default_scope='mmaction',
            experiment_name=uuid.uuid4().hex,
            work_dir=str(work_dir),
            model=dict(
                type='Recognizer3D',
                backbone=dict(
                    type='DualFormer',
                    arch=dict(
                        embed_dims=[8],
                        num_heads=[2],
                        depths=[2],
                        mlp_ratios=[2],
                        local_sizes=[(2, 2, 2)],
                        fine_pysizes=[(1, 1, 1)],
                        coarse_pysizes=[(1, 1, 1)],
                    ),
                    video_size=(4, 8, 8),
                    drop_path_rate=0.2,
                    drop_rate=0.1,
                ),
                cls_head=dict(
                    type='I3DHead',
                    num_classes=CLASSES,
                    in_channels=8,
                    dropout_ratio=0.3,
                    average_clips='prob',
                    topk=(1,),
                ),
                data_preprocessor=dict(
                    type='ActionDataPreprocessor',
                    mean=[90.0] * 3,
                    std=[60.0] * 3,
                    format_shape='NCTHW',
                    blending=dict(type='MixupBlending', num_classes=CLASSES, alpha=0.4),
                ),
            ),
            train_dataloader=loader,
            val_dataloader=val_loader,
            test_dataloader=copy.deepcopy(val_loader),
            val_evaluator=evaluator,
            test_evaluator=copy.deepcopy(evaluator),
            train_cfg=dict(by_epoch=True, max_epochs=4, val_begin=1, val_interval=1),
            val_cfg=dict(),
            test_cfg=dict(),
            optim_wrapper=dict(
                optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.02),
                accumulative_counts=2,
                clip_grad=dict(max_norm=1.0),
            ),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
                dict(type='CosineAnnealingLR', T_max=4, eta_min=1e-4, by_epoch=True, end=4),
            ],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=5),
                checkpoint=dict(
                    type='CheckpointHook',
                    interval=3,
                    by_epoch=False,
                    max_keep_ckpts=2,
                    save_best='auto',
                ),
            ),
            custom_hooks=[
                dict(type='StartReportHook'),
                dict(type='NonFiniteLossHook'),
                dict(type='StopHook'),
                dict(type='EMAHook', momentum=0.1),
            ],
            randomness=dict(seed=5),
            visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        ),
    )
    cfg.merge_from_dict(changes)
    return cfg


def without_chance(cfg):
    """Take out all that draws random numbers: what is left is the same in any split of a batch."""
    cfg.model.data_preprocessor.blending = None
    cfg.model.backbone.update(drop_path_rate=0.0, drop_rate=0.0)
    cfg.model.cls_head.dropout_ratio = 0.0
    return cfg


def short_config(work_dir, hooks=(), **changes):
    """A run of one epoch with the given hooks."""
    cfg = toy_config(work_dir, **changes)
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks = list(hooks)
    return cfg


def build_runner(cfg, launcher='none'):
    """An `ActionRunner` in this process."""
    from mmaction.distributed.launch import init_processes
    from mmaction.engine.runner import ActionRunner

    cfg.launcher = init_processes(launcher).launcher
    return ActionRunner.from_cfg(cfg)


def log_of(runner):
    """The log file of a run."""
    with open(runner.logger.log_file) as file:
        return file.read()


def train(cfg):
    """Train by a config in a process of its own; its exit status."""
    import_modules_from_strings(**cfg.get('custom_imports', dict(imports=None)))
    runner = build_runner(cfg, 'pytorch' if 'RANK' in os.environ else 'none')
    runner.train()
    return 0 if runner.stop_signal is None else 128 + runner.stop_signal


class Run(Forked):
    """A training run in one process or several, which can be killed.

    Args:
        cfg: The config.
        processes: How many.
    """

    def __init__(self, cfg, processes=1):
        super().__init__(train, (cfg,), Path(cfg.work_dir, 'output.txt'), processes)


def last_checkpoint(work_dir):
    """The content of the last checkpoint of a work dir."""
    from mmaction.engine.runner.checkpoint import find_checkpoint, load_checkpoint_file

    return load_checkpoint_file(find_checkpoint(work_dir))


def scalars_of(work_dir):
    """The lines of all `scalars.json` of a work dir, the oldest run first."""
    lines = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return lines


def losses(work_dir):
    """The loss of each step up to the last checkpoint."""
    return last_checkpoint(work_dir)['message_hub']['log_scalars']['train/loss']['values']


def write_toy(folder):
    """The toy config as a file."""
    path = folder / 'toy config.py'
    cfg = toy_config(folder / 'unused')
    cfg.pop('work_dir')
    cfg.pop('experiment_name')
    cfg.custom_imports = dict(imports=['tests.engine.toy'])
    cfg.custom_hooks = [
        dict(type='StartReportHook'),
        dict(type='StopHook'),
        dict(type='EMAHook', momentum=0.1),
    ]
    cfg.train_cfg.max_epochs = 2
    cfg.param_scheduler = cfg.param_scheduler[:1]
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=64)
    cfg.dump(path)
    return path
