"""From a whole 0.x config to a whole one of 1.x."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.utils.suggest import did_you_mean

from .data import InputFacts, convert_loaders, convert_pipeline
from .keys import SUCCESSORS
from .runtime import (
    convert_checkpoint,
    convert_environment,
    convert_evaluation,
    convert_log,
    standard_runtime,
)
from .schedule import convert_learning_rate, convert_optimizer, update_interval
from .section import ConversionNotes, LegacySection

__all__ = ['OLD_KEYS', 'convert_old_config', 'is_old_config']

_NEW_KEYS = {
    'optim_wrapper',
    'param_scheduler',
    'test_dataloader',
    'test_evaluator',
    'train_dataloader',
    'val_dataloader',
    'val_evaluator',
}
"""Keys that no config of 0.x has, of those that take the place of old ones."""

_WITHOUT_COUNTERPART = {
    'precise_bn': 'BatchNorm keeps its running statistics (sync_bn makes them those of all GPUs)',
    'omnisource': 'clips of one list make up an epoch',
    'module_hooks': 'no hooks are put on modules',
    'momentum_config': 'the momentum stays as it is',
    'multi_grid': 'the size of clips stays as it is',
    'profiler_config': "default_hooks=dict(profiler=dict(type='ProfilerHook', ...)) does the like",
}
OLD_KEYS = frozenset(
    set(SUCCESSORS)
    | set(_WITHOUT_COUNTERPART)
    | {'data', 'fp16', 'optimizer', 'runner', 'model', 'train_cfg', 'test_cfg', 'seed'}
    | {'deterministic', 'cudnn_benchmark', 'mp_start_method', 'opencv_num_threads', 'gpus'}
    | {'gpu_ids', 'load_from', 'work_dir', 'log_level', 'find_unused_parameters', 'custom_hooks'}
)
"""Top-level keys that mmaction2 0.x reads."""

_UNCHANGED = (
    *('default_scope', 'default_hooks', 'custom_imports', 'env_cfg', 'log_processor'),
    *('visualizer', 'randomness', 'compile', 'sync_bn', 'model_wrapper_cfg', 'resume'),
    *('experiment_name', 'work_dir', 'load_from', 'log_level', 'find_unused_parameters'),
)
"""Keys that mean the same in both, and those of 1.x that an old config may hold beside its own."""

_ORDER = (
    *('model', 'train_pipeline', 'val_pipeline', 'test_pipeline'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator'),
    *('test_evaluator', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'val_cfg', 'test_cfg'),
    'auto_scale_lr',
)


def is_old_config(cfg: Mapping[str, Any] | Config) -> bool:
    """Whether a config has the form of mmaction2 0.x.

    One that mixes both forms is not old: it is an error, which `check_config` tells.
    """
    if any(key in cfg for key in _NEW_KEYS):
        return False
    data = cfg.get('data')
    splits = isinstance(data, Mapping) and bool({'train', 'val', 'test'} & set(data))
    return splits or any(key in cfg for key in SUCCESSORS)


def convert_old_config(cfg: Config) -> tuple[Config, list[str]]:
    """A config of mmaction2 0.x in the form of 1.x.

    Args:
        cfg: The old config, with its bases; it is not changed.

    Returns:
        The new config under the old file name, and a line for each thing that has
        no counterpart.

    Raises:
        ConfigError: A key is unknown, or has no meaning here.
    """
    notes = ConversionNotes()
    top = LegacySection(copy.deepcopy(cfg._cfg_dict.to_dict()), '', notes)
    _refuse_misspelt(top)
    runtime = standard_runtime()
    top.copy_to(runtime, *_UNCHANGED)
    runtime['default_hooks'] = dict(runtime.get('default_hooks') or {})
    new: dict[str, Any] = {}
    facts = InputFacts()
    interval = update_interval(top.values.get('optimizer_config'))
    data = LegacySection(top.take('data'), 'data', notes)
    new.update(convert_loaders(data, interval, facts, notes))
    _name_pipelines(top, new, facts, notes)
    _convert_model(top, new, facts, notes)
    loop, saving, evaluator = convert_evaluation(top.take('evaluation'), notes)
    for split in ('val', 'test'):
        present = new[f'{split}_dataloader'] is not None
        new[f'{split}_evaluator'] = evaluator if present else None
        new[f'{split}_cfg'] = dict(type=f'{split.title()}Loop') if present else None
    _convert_training(top, new, loop, notes)

    hooks = runtime['default_hooks']
    if 'checkpoint_config' in top:
        given = top.take('checkpoint_config')
        hooks['checkpoint'] = None if given is None else convert_checkpoint(given, notes)
    if hooks.get('checkpoint') and new['val_dataloader'] is not None:
        hooks['checkpoint'] = {**hooks['checkpoint'], **saving}
    if 'log_config' in top:
        convert_log(top.take('log_config'), runtime, notes)
    convert_environment(top, runtime)
    _convert_rest(top, runtime, notes)
    ordered = {key: new[key] for key in _ORDER if key in new}
    return Config({**ordered, **runtime}, filename=cfg.filename), notes.lines()


def _refuse_misspelt(top: LegacySection) -> None:
    """Variables may have any name, but not one that is nearly a key."""
    for name in top.values:
        if name in OLD_KEYS or name in _UNCHANGED or name.endswith('_pipeline'):
            continue
        hint = did_you_mean(name, OLD_KEYS, cutoff=0.88)
        if hint:
            raise ConfigError(f'config key {name}: mmaction2 0.x knows no such key{hint}')


def _name_pipelines(
    top: LegacySection, new: dict[str, Any], facts: InputFacts, notes: ConversionNotes
) -> None:
    """Give the pipelines of the splits their usual names, which the demos read."""
    for split in ('train', 'val', 'test'):
        loader = new[f'{split}_dataloader']
        name = f'{split}_pipeline'
        if loader is not None and 'pipeline' in loader['dataset']:
            new[name] = loader['dataset']['pipeline']
        elif loader is None and top.values.get(name):
            new[name] = convert_pipeline(top.values[name], name, facts, notes)


def _convert_model(
    top: LegacySection, new: dict[str, Any], facts: InputFacts, notes: ConversionNotes
) -> None:
    model = dict(LegacySection(top.need('model'), 'model', notes).values)
    # Before 0.11 train_cfg and test_cfg stood beside the model.
    beside = {key: top.take(key) for key in ('train_cfg', 'test_cfg')}
    preprocessor = facts.preprocessor(notes)
    given = model.get('data_preprocessor') or {}
    for key in ('mean', 'std'):
        if key in given and key in preprocessor and list(given[key]) != preprocessor[key]:
            notes.lost.append(
                f'model.data_preprocessor.{key}={given[key]} is not used: the Normalize of the '
                f'pipelines says {preprocessor[key]}'
            )
    preprocessor = {**given, **preprocessor}
    for key, value in beside.items():
        if value:
            model[key] = {**value, **(model.get(key) or {})}
    train = LegacySection(model.pop('train_cfg', None), 'model.train_cfg', notes)
    blending = train.take('blending')
    if blending:
        preprocessor['blending'] = blending
    for key in train.others():
        train.lost(key, 'a recognizer has no such setting')
    test = dict(model.pop('test_cfg', None) or {})
    if test.pop('feature_extraction', False):
        notes.lost.append(
            'model.test_cfg.feature_extraction=True has no counterpart: scores are given; '
            "model(inputs, mode='tensor') gives features"
        )
    if test:
        model['test_cfg'] = test
    new['model'] = {**model, 'data_preprocessor': preprocessor}


def _convert_training(
    top: LegacySection, new: dict[str, Any], loop: dict[str, Any], notes: ConversionNotes
) -> None:
    """Optimizer, schedule and loop; all None for a config that can only be tested."""
    epochs = top.take('total_epochs')
    runner = LegacySection(top.take('runner'), 'runner', notes)
    kind = runner.take('type', 'EpochBasedRunner')
    if kind not in ('EpochBasedRunner', 'EpochBasedRunnerAmp'):
        raise ConfigError(
            f'config key runner.type: "{kind}" has no counterpart here; EpochBasedRunner has'
        )
    epochs = runner.take('max_epochs', epochs)
    runner.close()
    parts = {
        'data.train': new['train_dataloader'],
        'optimizer': top.take('optimizer'),
        'total_epochs': epochs,
    }
    missing = [name for name, part in parts.items() if part is None]
    if missing:
        notes.lost.append(f'{", ".join(missing)} not given: the config can only be tested')
        new.update(train_dataloader=None, optim_wrapper=None, param_scheduler=None, train_cfg=None)
        for key in ('optimizer_config', 'lr_config', 'fp16'):
            top.take(key)
        return
    if type(epochs) is not int or epochs < 1:
        raise ConfigError(f'config key total_epochs: {epochs!r} is no positive integer')
    wrapper = convert_optimizer(
        parts['optimizer'], top.take('optimizer_config'), top.take('fp16'), notes
    )
    new['optim_wrapper'] = wrapper
    new['param_scheduler'] = convert_learning_rate(top.take('lr_config'), epochs, notes)
    new['train_cfg'] = dict(type='EpochBasedTrainLoop', max_epochs=epochs, **loop)
    # 0.x names learning rates for 8 GPUs.
    clips = new['train_dataloader']['batch_size'] * wrapper.get('accumulative_counts', 1)
    new['auto_scale_lr'] = dict(enable=False, base_batch_size=8 * clips)


def _convert_rest(top: LegacySection, runtime: dict[str, Any], notes: ConversionNotes) -> None:
    resume = top.take('resume_from')
    if resume:
        runtime.update(load_from=resume, resume=True)
    workflow = top.take('workflow', [('train', 1)])
    if any(mode != 'train' for mode, _ in workflow):
        notes.lost.append(
            f'workflow={[tuple(step) for step in workflow]} has no counterpart: the loss on the '
            'validation list is not computed; evaluation.interval says when accuracy is'
        )
    for key, why in _WITHOUT_COUNTERPART.items():
        top.lost(key, why)
    for key in ('gpus', 'gpu_ids'):
        top.lost(key, 'tools/dist_train.sh CONFIG N uses N GPUs')
