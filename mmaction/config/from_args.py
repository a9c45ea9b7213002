"""Putting what a command line asks for into a config."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.utils.remote import is_remote, redacted

from .check import check_config
from .known_keys import LOGGERS
from .options import parse_options

__all__ = [
    'LOGGERS',
    'add_loggers',
    'apply_test_args',
    'apply_train_args',
    'check_loggers',
    'draw_clips',
    'set_average_clips',
    'set_metrics',
    'set_work_dir',
]


def apply_train_args(cfg: Config, args: Namespace) -> None:
    """Put what the command line of tools/train.py asks for into a config.

    What depends on checkpoints and on the device (`--resume`, `--amp`) is the engine's.

    Raises:
        ConfigError: The config lacks what an option needs.
    """
    set_work_dir(cfg, args.work_dir)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    randomness = dict(cfg.get('randomness') or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = {'seed': None, **randomness}
    if args.compile is not None:
        cfg.compile = _compile_setting(cfg, args.compile)
    add_loggers(cfg, [name for name in LOGGERS if getattr(args, name, False)])
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config'
            )
        cfg.auto_scale_lr.enable = True


def _compile_setting(cfg: Config, wanted: bool) -> Any:
    """What --compile or --no-compile makes of a config's `compile`, whose arguments stay."""
    given = cfg.get('compile')
    return wanted and (given if isinstance(given, dict) and given else True)


def apply_test_args(cfg: Config, args: Namespace) -> None:
    """Put what the command line of tools/test.py asks for into a config.

    Raises:
        ConfigError: An option cannot be meant.
    """
    set_work_dir(cfg, args.work_dir)
    cfg.load_from, cfg.resume = args.checkpoint, False
    # A config's `compile` is about training.
    cfg.compile = 'auto' if args.compile is None else _compile_setting(cfg, args.compile)
    set_metrics(cfg, args.eval, args.eval_options)
    if args.show_dir is not None:
        draw_clips(cfg, args.show_dir, args.interval)
    if args.average_clips:
        set_average_clips(cfg, args.average_clips)
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(
            type='TestResultsHook',
            out=args.out,
            dump=args.dump,
            max_unreadable=args.max_unreadable,
        ),
    ]


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set the work dir: the one asked for, the config's, or `./work_dirs/CONFIG_NAME`.

    Raises:
        ConfigError: It is an address.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename).stem))
    if is_remote(cfg.work_dir):
        raise ConfigError(
            f'the work dir {redacted(cfg.work_dir)} has to be a local folder, for logs; '
            'checkpoints go elsewhere with default_hooks.checkpoint.out_dir=s3://BUCKET/FOLDER'
        )


def draw_clips(cfg: Config, folder: str, interval: int) -> None:
    """Have every n-th clip drawn into a folder, in the way of the config's VisualizationHook.

    Raises:
        ConfigError: `interval` is not positive.
        OSError: The folder cannot be made.
    """
    if interval < 1:
        raise ConfigError(f'--interval {interval} must be at least 1')
    Path(folder).mkdir(parents=True, exist_ok=True)
    visualizer = dict(cfg.get('visualizer') or {})
    if visualizer.get('type', 'Visualizer') == 'Visualizer':  # mmengine's does not draw clips
        visualizer['type'] = 'ActionVisualizer'
    cfg.visualizer = visualizer
    hooks = dict(cfg.get('default_hooks') or {})
    hooks['visualization'] = {
        **dict(type='VisualizationHook', out_type='gif'),
        **(hooks.get('visualization') or {}),
        **dict(enable=True, out_dir=folder, interval=interval),
    }
    cfg.default_hooks = hooks


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
    chosen = evaluators
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


def add_loggers(cfg: Config, names: Sequence[str]) -> None:
    """Log to other places beside those that the config logs to.

    Args:
        cfg: The config; its `visualizer` is changed.
        names: Of `LOGGERS`.

    Raises:
        ConfigError: A package is not installed.
    """
    visualizer = cfg.get('visualizer') or dict(type='Visualizer', vis_backends=[])
    backends = list(visualizer.get('vis_backends') or [])
    for name in names:
        kind = LOGGERS[name]
        if name == 'mlflow':
            # mmengine writes files, which MLflow since 3.7 wants to be asked for.
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        if find_spec(name) is None:
            raise ConfigError(f'--{name}: {name} is not installed: pip install {name}')
        if all(backend['type'] != kind for backend in backends):
            backends.append(dict(type=kind))
    if names:
        cfg.visualizer = {**visualizer, 'vis_backends': backends}


def check_loggers(cfg: Config) -> None:
    """Tell a log of the config whose package is not there, which would end the run at its start.

    Raises:
        ConfigError: With the package, and how to leave the log out.
    """
    packages = {kind: name for name, kind in LOGGERS.items()}
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or []
    needed = [packages.get(str(backend['type']).split('.')[-1]) for backend in backends]
    missing = [name for name in needed if name is not None and find_spec(name) is None]
    if not missing:
        return
    index, name = needed.index(missing[0]), missing[0]
    others = [
        dict(backend)
        for backend, package in zip(backends, needed, strict=True)
        if package not in missing
    ]
    raise ConfigError(
        f'config key visualizer.vis_backends.{index}: {backends[index]["type"]} needs {name}, '
        f'which is not installed: pip install {name}, or leave this log out: '
        f'--cfg-options "visualizer.vis_backends={others}"'
    )
