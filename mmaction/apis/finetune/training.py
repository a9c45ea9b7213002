"""One training with its test, resumed or reused where it was interrupted or is done."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mmaction.config.from_args import add_loggers
from mmaction.config.load import load_config
from mmaction.distributed.launch import init_processes
from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.checkpoint import plain, save_checkpoint_file
from mmaction.engine.runner.resume import set_resume
from mmaction.utils.io import file_digest, write_json

__all__ = ['Run', 'Stopped', 'train_and_test']


class Stopped(Exception):  # noqa: N818
    """Ctrl-C or SIGTERM ended a training, whose state is saved.

    Args:
        signal: Number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f'stopped by signal {signal}')
        self.signal = signal


class Run(NamedTuple):
    """A training to do.

    Args:
        config: Its config.
        folder: For checkpoints, logs and results.
        seed: Of weights, order and augmentation.
        title: What it is called: 'fold 2, seed 0', or empty if it is the only one.
    """

    config: Path
    folder: Path
    seed: int
    title: str = ''

    @property
    def checkpoint(self) -> Path:
        """The weights at the end of training."""
        return self.folder / 'model.pth'

    @property
    def results(self) -> Path:
        """Predictions of the test clips."""
        return self.folder / 'results.json'

    @property
    def done(self) -> Path:
        """Written when training and test are done; holds what the run was made with."""
        return self.folder / 'done.json'


def train_and_test(
    run: Run, threads: int | None, loggers: Sequence[str] = (), left: int = 1
) -> bool:
    """Train, resuming where an earlier process was, and test the last weights.

    Args:
        run: What to train.
        threads: Cores to compute on; None leaves it to PyTorch.
        loggers: What to log to beside the work dir: 'tensorboard', 'wandb', ...
        left: Runs that are to be done, this one included.

    Returns:
        Whether anything had to be done.

    Raises:
        Stopped: A signal ended it; called again, it goes on.
    """
    made_with = dict(config=file_digest(run.config), seed=run.seed)
    there = all(path.is_file() for path in (run.done, run.results, run.checkpoint))
    if there and json.loads(run.done.read_text(encoding='utf-8')) == made_with:
        return False
    if threads is not None:
        torch.set_num_threads(threads)
    cfg = load_config(run.config)
    cfg.work_dir = str(run.folder)
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': run.seed}
    cfg.launcher = 'none'
    cfg.experiment_name = f'{run.folder.name}_{os.getpid()}_{str(made_with["config"])[:8]}'
    add_loggers(cfg, loggers)
    for hook in cfg.custom_hooks:
        if hook['type'] == 'StartReportHook':
            hook['runs'] = left
        elif hook['type'] == 'ProgressHook':
            hook['every'] = 10.0  # a small set has hundreds of epochs of a second
    hook = dict(type='TestResultsHook', dump=str(run.results), max_unreadable=1.0)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    init_processes('none')
    set_resume(cfg, 'auto')
    runner = ActionRunner.from_cfg(cfg)
    runner.prepare('train')
    runner.prepare('test')
    runner.train()
    if runner.stop_signal is not None:
        raise Stopped(runner.stop_signal)
    save_weights(runner, run.checkpoint)
    runner.load_checkpoint(str(run.checkpoint), strict=True)
    runner.test()
    write_json(run.done, made_with)
    return True


def save_weights(runner: ActionRunner, path: Path) -> None:
    """Write the weights, the names of the classes and the config, without what resuming needs."""
    dataset = runner.train_dataloader.dataset
    classes = dataset.metainfo['classes']
    meta = dict(cfg=runner.message_hub.get_info('cfg'), dataset_meta=dict(classes=classes))
    content = dict(meta=meta, state_dict=runner.bare_model.state_dict())
    save_checkpoint_file(plain(content), path)
