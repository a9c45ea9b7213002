"""Putting what a command line asks for into a config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaction.engine.runner.checkpoint import POINTER, find_checkpoint
from mmaction.errors import ConfigError

from .check import check_config
from .load import parse_options

__all__ = [
    'add_tensorboard',
    'set_average_clips',
    'set_metrics',
    'set_resume',
    'set_work_dir',
]


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set the work dir: the one asked for, the config's, or `./work_dirs/CONFIG_NAME`."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename).stem))


def set_resume(cfg: Config, resume: str | None) -> None:
    """Set what a run starts from.

    Args:
        cfg: The config, with its `work_dir`.
        resume: A checkpoint; 'auto' for the last one of the work dir, if there
            is one; None to start anew. A worker that torchrun starts again
            goes on by itself.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
    """
    if resume is None and int(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')):
        # Without the pointer the run has saved nothing yet: files are of older runs.
        resume = 'auto' if Path(cfg.work_dir, POINTER).is_file() else None
    if resume is None:
        return
    if resume == 'auto':
        if find_checkpoint(cfg.work_dir) is not None:
            cfg.resume, cfg.load_from = True, None
        return
    if not Path(resume).is_file():
        raise FileNotFoundError(f'--resume: there is no checkpoint {resume}')
    cfg.resume, cfg.load_from = True, resume


def set_average_clips(cfg: Config, how: str) -> None:
    """Set how the views of a clip are averaged, where the config says it."""
    model = cfg.model
    if 'average_clips' in (model.get('test_cfg') or {}):
        model.test_cfg.average_clips = how
    else:
        model.cls_head.average_clips = how


def set_metrics(cfg: Config, metrics: list[str] | None, options: list[str]) -> None:
    """Choose the metrics of the test evaluator.

    Args:
        cfg: The config.
        metrics: Names as `AccMetric.metric_list` takes them, or None.
        options: `key=value` strings for its arguments.

    Raises:
        ConfigError: The evaluator has no `metric_list` or no such argument.
    """
    if not metrics and not options:
        return
    evaluators = cfg.test_evaluator
    chosen: Any = evaluators
    if isinstance(evaluators, list):
        chosen = next((e for e in evaluators if e.get('type') == 'AccMetric'), None)
    if not isinstance(chosen, dict) or chosen.get('type') != 'AccMetric':
        raise ConfigError('--eval and --eval-options need an AccMetric in test_evaluator')
    if metrics:
        chosen['metric_list'] = tuple(metrics)
    if options:
        holder = Config(dict(metric=chosen))
        holder.merge_from_dict({f'metric.{k}': v for k, v in parse_options(options).items()})
        chosen.update(holder.metric)
        check_config(Config(dict(test_evaluator=chosen)))


def add_tensorboard(cfg: Config) -> None:
    """Log to TensorBoard beside what the config logs to.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'--tensorboard: {error}; "pip install tensorboard"') from error
    visualizer = cfg.get('visualizer') or dict(type='Visualizer', vis_backends=[])
    backends = list(visualizer.get('vis_backends') or [])
    if not any(b['type'] == 'TensorboardVisBackend' for b in backends):
        backends.append(dict(type='TensorboardVisBackend'))
    visualizer['vis_backends'] = backends
    cfg.visualizer = visualizer
