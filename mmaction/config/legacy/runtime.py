"""Evaluation, checkpoints, logging and environment of a 0.x config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaction.config.known_keys import LOGGERS
from mmaction.errors import ConfigError
from mmaction.utils.metric_names import PUBLISHED_NAMES
from mmaction.utils.packaged_configs import config_folder

from .section import ConversionNotes, LegacySection

__all__ = [
    'convert_checkpoint',
    'convert_environment',
    'convert_evaluation',
    'convert_log',
    'drop_missing_backends',
    'runtime_file',
    'standard_runtime',
]

_BACKENDS = {
    'TensorboardLoggerHook': 'TensorboardVisBackend',
    'WandbLoggerHook': 'WandbVisBackend',
    'MlflowLoggerHook': 'MLflowVisBackend',
}


def runtime_file() -> Path:
    """`default_runtime.py` of the configs that come with the package."""
    return config_folder() / '_base_' / 'default_runtime.py'


def standard_runtime() -> dict[str, Any]:
    """What every config of this project shares: hooks, environment, log."""
    runtime: dict[str, Any] = Config.fromfile(str(runtime_file()))._cfg_dict.to_dict()
    return runtime


def convert_evaluation(
    evaluation: object, notes: ConversionNotes
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """`evaluation` as parts of the new form.

    Returns:
        Arguments of the training loop, of the checkpoint hook, and the evaluator.
    """
    section = LegacySection(evaluation, 'evaluation', notes)
    loop = dict(val_begin=1, val_interval=section.take('interval', 1))
    start = section.take('start')
    if start is not None:
        loop['val_begin'] = start
    if not section.take('by_epoch', True):
        raise ConfigError(
            'config key evaluation.by_epoch: False has no counterpart in a run over epochs; '
            'give evaluation.interval in epochs'
        )
    saving: dict[str, Any] = {}
    best = section.take('save_best', 'auto')
    if best is not None:
        saving['save_best'] = PUBLISHED_NAMES.get(best, best)
    section.copy_to(saving, 'rule', 'greater_keys', 'less_keys')
    evaluator: dict[str, Any] = dict(type='AccMetric')
    metrics = section.take('metrics', ('top_k_accuracy', 'mean_class_accuracy'))
    evaluator['metric_list'] = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    options = dict(section.take('metric_options') or {})
    topk = section.take('topk')
    if topk is not None:
        options.setdefault('top_k_accuracy', dict(topk=topk))
    if options:
        evaluator['metric_options'] = options
    section.not_needed('gpu_collect', 'tmpdir', 'broadcast_bn_buffer')
    section.lost('dynamic_intervals', 'val_interval is the same throughout')
    section.lost('key_indicator', 'evaluation.save_best names it')
    section.close()
    return loop, saving, evaluator


def convert_checkpoint(checkpoint_config: object, notes: ConversionNotes) -> dict[str, Any]:
    """`checkpoint_config` as the checkpoint hook."""
    section = LegacySection(checkpoint_config, 'checkpoint_config', notes)
    hook = dict(type='CheckpointHook', interval=section.take('interval', 1))
    # 0.x keeps every checkpoint unless told otherwise.
    hook['max_keep_ckpts'] = section.take('max_keep_ckpts', -1)
    section.copy_to(hook, 'by_epoch', 'save_optimizer', 'out_dir', 'save_last', 'filename_tmpl')
    section.not_needed('create_symlink', 'sync_buffer', 'type')
    section.close()
    return hook


def convert_log(log_config: object, runtime: dict[str, Any], notes: ConversionNotes) -> None:
    """Put `log_config` into the hooks, log processor and visualizer of `runtime`."""
    section = LegacySection(log_config, 'log_config', notes)
    interval = section.take('interval', 10)
    hooks = section.take('hooks', ())
    section.close()
    logger = dict(runtime['default_hooks'].get('logger') or dict(type='LoggerHook'))
    runtime['default_hooks']['logger'] = {**logger, 'interval': interval}
    processor = dict(runtime.get('log_processor') or dict(type='LogProcessor'))
    runtime['log_processor'] = {**processor, 'window_size': interval}
    visualizer = dict(runtime.get('visualizer') or dict(type='Visualizer'))
    backends = list(visualizer.get('vis_backends') or [])
    if not isinstance(hooks, Sequence) or isinstance(hooks, str):
        raise ConfigError(f'config key log_config.hooks: a list was expected, found {hooks!r}')
    for index, hook in enumerate(hooks):
        own = LegacySection(hook, f'log_config.hooks.{index}', notes)
        kind = own.need('type')
        # Each is asked for its interval by the one logger hook.
        own.not_needed('by_epoch', 'interval', 'ignore_last', 'reset_flag')
        if kind == 'TextLoggerHook':
            own.not_needed('interval_exp_name', 'out_dir', 'keep_local', 'out_suffix')
        elif kind in _BACKENDS:
            backend = dict(type=_BACKENDS[kind])
            if kind == 'WandbLoggerHook':
                own.copy_to(backend, 'init_kwargs')
            own.lost('log_dir', 'it logs into the work dir')
            backends.append(backend)
        else:
            notes.lost.append(
                f'{own.way("type")}={kind!r} has no counterpart: no such log is written'
            )
            continue
        for key in own.others():
            own.lost(key, f'{_BACKENDS.get(kind, "the log")} has no such option')
    runtime['visualizer'] = {**visualizer, 'vis_backends': backends}


def drop_missing_backends(cfg: Config) -> list[str]:
    """Leave out the logs of a converted config whose package is not installed.

    Returns:
        A line for each.
    """
    lines = []
    packages = {kind: name for name, kind in LOGGERS.items()}
    visualizer = cfg.get('visualizer') or {}
    for backend in list(visualizer.get('vis_backends') or []):
        package = packages.get(backend['type'])
        if package and find_spec(package) is None:
            visualizer['vis_backends'].remove(backend)
            lines.append(
                f'warning: {backend["type"]} is left out, since {package} is not installed '
                f'("pip install {package}")'
            )
    return lines


def convert_environment(top: LegacySection, runtime: dict[str, Any]) -> None:
    """Put the top-level keys of process groups and seeds into `runtime`."""
    environment = runtime['env_cfg'] = dict(runtime.get('env_cfg') or {})
    dist = top.take('dist_params')
    if dist:
        environment['dist_cfg'] = dict(dist)
    top.copy_to(environment, 'cudnn_benchmark')
    multi = dict(environment.get('mp_cfg') or {})
    top.copy_to(multi, 'mp_start_method', 'opencv_num_threads')
    environment['mp_cfg'] = multi
    randomness: dict[str, Any] = {}
    top.copy_to(randomness, 'seed', 'deterministic')
    if randomness:
        runtime['randomness'] = randomness
    hooks = top.take('custom_hooks')
    if hooks:
        known = [hook['type'] for hook in runtime['custom_hooks']]
        new = [hook for hook in hooks if _kind(hook) not in known]
        runtime['custom_hooks'] = runtime['custom_hooks'] + new


def _kind(hook: object) -> Any:
    if not isinstance(hook, Mapping) or 'type' not in hook:
        raise ConfigError(f'config key custom_hooks: dicts with a type were expected, not {hook!r}')
    return hook['type']
