"""Telling a misspelt key or type of a config before anything is built.

Dicts with a `type` are held against the signature of the class; the dicts
without one that the runner reads (dataloaders, `env_cfg`, ...) against the keys
it knows. What no one here can know, such as arguments that a class only passes
on, is let through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Set
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from mmaction.utils.cli import brief
from mmaction.utils.suggest import close_names, did_you_mean

from .legacy.keys import SUCCESSORS
from .scope import why_missing
from .values import check_type, check_value

__all__ = ['RUNNER_KEYS', 'accepted_arguments', 'check_config', 'check_parts', 'is_registered']

RUNNER_KEYS = frozenset(
    {
        'model',
        'work_dir',
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'train_cfg',
        'val_cfg',
        'test_cfg',
        'auto_scale_lr',
        'optim_wrapper',
        'param_scheduler',
        'val_evaluator',
        'test_evaluator',
        'default_hooks',
        'custom_hooks',
        'data_preprocessor',
        'load_from',
        'resume',
        'launcher',
        'env_cfg',
        'log_processor',
        'log_level',
        'visualizer',
        'default_scope',
        'randomness',
        'experiment_name',
        'compile',
        'sync_bn',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'activation_checkpointing',
        'efficient_conv_bn_eval',
        'runner_type',
        'custom_imports',
        'tta_model',
        'tta_pipeline',
    }
)
"""Top-level names that the runner reads."""

_USUAL_VARIABLES = {
    'vis_backends',
    'train_pipeline',
    'val_pipeline',
    'test_pipeline',
    'data_root',
    'dataset_type',
    'optimizer',
}

_READERS = {
    'train_dataloader': ('torch.utils.data.DataLoader',),
    'val_dataloader': ('torch.utils.data.DataLoader',),
    'test_dataloader': ('torch.utils.data.DataLoader',),
    'train_cfg': ('mmengine.runner.EpochBasedTrainLoop', 'mmengine.runner.IterBasedTrainLoop'),
    'val_cfg': ('mmengine.runner.ValLoop',),
    'test_cfg': ('mmengine.runner.TestLoop',),
    'log_processor': ('mmengine.runner.LogProcessor',),
    'optim_wrapper': ('mmengine.optim.OptimWrapper',),
}
"""Classes that read the dicts without `type`."""
_DATALOADER = {'dataset', 'num_batch_per_epoch', 'disable_subprocess_warning'}
_MORE_KEYS = {
    'train_dataloader': _DATALOADER,
    'val_dataloader': _DATALOADER,
    'test_dataloader': _DATALOADER,
    'train_cfg': {'by_epoch'},
    'optim_wrapper': {'optimizer', 'constructor', 'paramwise_cfg'},
}
_PARAMWISE = {
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
}
_UNTYPED = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'optim_wrapper.clip_grad': {
        'type',
        'max_norm',
        'norm_type',
        'error_if_nonfinite',
        'clip_value',
        'foreach',
    },
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {'backend', 'timeout', 'init_backend', 'port'},
    'compile': {'backend', 'mode', 'dynamic', 'fullgraph', 'options'},
    'custom_imports': {'imports', 'allow_failed_imports'},
}
_LISTS_OF_TYPED = {
    'pipeline',
    'transforms',
    'custom_hooks',
    'vis_backends',
    'param_scheduler',
    'val_evaluator',
    'test_evaluator',
}
_HOOK_NAMES = {
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
    'sync_buffers',
    'visualization',
}
_ROLES = {
    'model': 'recognizers',
    'backbone': 'backbones',
    'neck': 'necks',
    'cls_head': 'heads',
    'loss_cls': 'losses',
}
_ANY_LIBRARY = ('torchvision', 'timm', 'mmcls', 'mmpretrain', 'mmdet')


def check_config(cfg: Config) -> None:
    """Raise `ConfigError` for the first unknown key or type of a config.

    Raises:
        ConfigError: With the dotted way to the key, its name and the nearest
            known one.
    """
    from mmaction.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    _check_top_level(cfg)
    for name, value in cfg.items():
        # Of the other variables only the parts of the config count that are made of them.
        if name in RUNNER_KEYS:
            check_value((name,), value)
            _walk(value, (name,))


def _fail(way: tuple[str, ...], message: str, name: str, known: Iterable[str]) -> ConfigError:
    hint = did_you_mean(name, known, list_known=True)
    return ConfigError(f'config key {".".join(way)}: {message}{hint}')


_TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
"""Keys of which the runner takes all or none."""


def check_parts(cfg: Config) -> None:
    """Raise `ConfigError` where a config gives some of what a run needs together.

    Raises:
        ConfigError: With the key that is missing.
    """
    for keys in _TOGETHER:
        missing = [key for key in keys if cfg.get(key) is None]
        given = [key for key in keys if key not in missing]
        if missing and given:
            raise ConfigError(
                f'config key {missing[0]}: not given, but {given[0]} is; '
                f'{", ".join(keys)} go together: give all of them, or none'
            )


def _check_top_level(cfg: Config) -> None:
    old = [name for name in cfg if name in SUCCESSORS]
    if old and 'train_dataloader' not in cfg:
        raise ConfigError(
            f'config key {old[0]}: this is a config of mmaction2 0.x; in 1.x it is '
            f'{SUCCESSORS[old[0]]}'
        )
    known = RUNNER_KEYS | _USUAL_VARIABLES
    for name in cfg:
        if name in SUCCESSORS:
            raise ConfigError(
                f'config key {name}: mmaction2 0.x had this key; in 1.x it is {SUCCESSORS[name]}'
            )
        if name in known or name.rstrip('s') in known:
            continue
        hint = did_you_mean(name, known, cutoff=0.88)
        if hint:
            raise ConfigError(f'config key {name}: the runner knows no such key{hint}')


def _walk(node: Any, way: tuple[str, ...]) -> None:
    """Check a value and all below it."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            if way[-1] in _LISTS_OF_TYPED and not (isinstance(item, dict) and 'type' in item):
                raise ConfigError(
                    f'config key {".".join((*way, str(index)))}: expected a dict with "type", '
                    f'found {brief(item)}'
                )
            check_value((*way, str(index)), item)
            _walk(item, (*way, str(index)))
        return
    if not isinstance(node, dict):
        return
    # The type of `clip_grad` is no class but 'norm' or 'value'.
    if 'type' in node and '.'.join(way) not in _UNTYPED:
        _check_typed(node, way)
    else:
        _check_untyped(node, way)
    for key, value in node.items():
        check_value((*way, str(key)), value)
        _walk(value, (*way, str(key)))


def _check_typed(node: dict[str, Any], way: tuple[str, ...]) -> None:
    kind = node['type']
    if isinstance(kind, str):
        if kind.split('.')[0] in _ANY_LIBRARY and why_missing(kind) is None:
            return
        found = _resolve(kind, _registry_at(way))
        if found is None:
            raise _unknown_type(kind, way)
    elif callable(kind):
        found = kind
    else:
        raise ConfigError(
            f'config key {".".join((*way, "type"))}: expected the name of a class, found '
            f'{brief(kind)}'
        )
    known, takes_more = accepted_arguments(found)
    known = known - {'self', 'runner', 'params', 'args', 'kwargs'} | _extra_keys(way) | {'type'}
    if way == ('optim_wrapper', 'optimizer') and isinstance(node.get('optimizer_type'), str):
        # ZeroRedundancyOptimizer hands the rest on.
        known |= _group_options(dict(type=node['optimizer_type']))
    for key, value in node.items():
        if key in known or str(key).startswith('_'):
            if key != 'type':
                check_type('.'.join((*way, str(key))), value, found, key)
            continue
        # What takes anything may still mean what it names itself.
        if takes_more and not close_names(key, known, cutoff=0.85):
            continue
        name = getattr(found, '__name__', str(kind))
        raise _fail((*way, key), f'{name} takes no argument "{key}"', key, known)
    _check_paramwise(node, way)


def _unknown_type(kind: str, way: tuple[str, ...]) -> ConfigError:
    """The error of a type that is not registered: why, or the nearest one of the same role."""
    reason = why_missing(kind)
    if reason is not None:
        return ConfigError(f'config key {".".join((*way, "type"))}: {reason}')
    role = _ROLES.get(way[-1]) if way[0] == 'model' else None
    names = _all_names(way)
    if role is not None:
        names = {name for name in names if f'.models.{role}.' in _module_of(name)} or names
    message = f'no class "{kind}" is registered'
    if role == 'backbones':
        message += ' (models of other libraries are "torchvision.NAME" and "timm.NAME")'
    return _fail((*way, 'type'), message, kind, names)


def _module_of(name: str) -> str:
    """The module in which a registered model is; users' own count as backbones, heads and so on."""
    module = getattr(MODELS.get(name), '__module__', '')
    ours = module.split('.')[0] in ('mmaction', 'mmengine', 'torch')
    return module if ours else ''.join(f'.models.{role}.' for role in _ROLES.values())


def _check_untyped(node: dict[str, Any], way: tuple[str, ...]) -> None:
    place = '.'.join(way)
    known: Set[str] | None = _UNTYPED.get(place)
    if len(way) == 1:
        readers = [_imported(name) for name in _READERS.get(place, ())]
        if readers:
            names = set().union(*(accepted_arguments(reader)[0] for reader in readers))
            known = names - {'self', 'runner', 'dataloader', 'evaluator'} | _MORE_KEYS.get(
                place, set()
            )
        if place == 'optim_wrapper':
            _check_paramwise(node, way)
        elif place == 'default_hooks':
            _check_hook_names(node)
        for reader in readers:
            for key in node:
                check_type(f'{place}.{key}', node[key], reader, key)
    if known is None:
        return
    for key in node:
        if key not in known and not str(key).startswith('_'):
            raise _fail((*way, key), f'{place} has no key "{key}"', key, known)


def _check_hook_names(hooks: dict[str, Any]) -> None:
    for name, hook in hooks.items():
        if name in _HOOK_NAMES or hook is None:
            continue
        near = close_names(name, _HOOK_NAMES, cutoff=0.8)
        if near or not (isinstance(hook, dict) and 'type' in hook):
            raise _fail(
                ('default_hooks', name), f'no default hook is called "{name}"', name, _HOOK_NAMES
            )


def _check_paramwise(node: dict[str, Any], way: tuple[str, ...]) -> None:
    """Check the learning-rate rules, where the constructor is one we know."""
    if way != ('optim_wrapper',):
        return
    constructor = node.get('constructor', 'DefaultOptimWrapperConstructor')
    rules = node.get('paramwise_cfg') or {}
    if isinstance(constructor, str):
        from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

        found = _resolve(constructor, OPTIM_WRAPPER_CONSTRUCTORS)
        if found is None:
            raise _fail(
                (*way, 'constructor'),
                f'no constructor "{constructor}" is registered',
                constructor,
                _names_of(OPTIM_WRAPPER_CONSTRUCTORS),
            )
        constructor = found
    default = getattr(constructor, '__name__', '') == 'DefaultOptimWrapperConstructor'
    known = _PARAMWISE if default else getattr(constructor, 'PARAMWISE_KEYS', None)
    if known is None:
        return
    for key in rules:
        if key not in known:
            raise _fail((*way, 'paramwise_cfg', key), f'no rule is called "{key}"', key, known)
    of_optimizer = set(_group_options(node.get('optimizer') or {}))
    for pattern, rule in (rules.get('custom_keys') or {}).items():
        for key in rule:
            if key not in {'lr_mult', 'decay_mult'} | of_optimizer:
                place = (*way, 'paramwise_cfg', 'custom_keys', pattern, key)
                raise _fail(place, f'no rule is called "{key}"', key, {'lr_mult', 'decay_mult'})


def _group_options(optimizer: dict[str, Any]) -> set[str]:
    from mmaction.registry import OPTIMIZERS

    found = _resolve(optimizer['type'], OPTIMIZERS) if 'type' in optimizer else None
    return set(accepted_arguments(found)[0]) if found is not None else set()


def _extra_keys(way: tuple[str, ...]) -> set[str]:
    """Keys that a builder takes out before the class sees the rest."""
    if way[0] in ('default_hooks', 'custom_hooks'):
        return {'priority'}
    if way[0] == 'param_scheduler':
        return {'convert_to_iter_based'}
    if way == ('optim_wrapper',):
        return {'optimizer', 'constructor', 'paramwise_cfg'}
    if way[-1] == 'norm_cfg':
        return {'requires_grad'}
    return set()


def _registry_at(way: tuple[str, ...]) -> Registry | None:
    """The registry in which a `type` at this place is looked up, where one can tell."""
    from mmaction import registry as r

    places: dict[str, Registry] = {
        'sampler': r.DATA_SAMPLERS,
        'batch_sampler': r.DATA_SAMPLERS,
        'collate_fn': r.FUNCTION,
        'worker_init_fn': r.FUNCTION,
        'dataset': r.DATASETS,
        'optimizer': r.OPTIMIZERS,
        'init_cfg': r.WEIGHT_INITIALIZERS,
    }
    names = [part for part in way if not part.isdigit()]
    last = names[-1]
    if last.endswith('pipeline') or last == 'transforms':
        return r.TRANSFORMS
    if last in places:
        return places[last]
    if last in ('visualizer', 'vis_backends'):
        return r.VISUALIZERS if last == 'visualizer' else r.VISBACKENDS
    tops: dict[str, Registry] = {
        'model': r.MODELS,
        'data_preprocessor': r.MODELS,
        'default_hooks': r.HOOKS,
        'custom_hooks': r.HOOKS,
        'optim_wrapper': r.OPTIM_WRAPPERS,
        'param_scheduler': r.PARAM_SCHEDULERS,
        'val_evaluator': r.METRICS,
        'test_evaluator': r.METRICS,
        'train_cfg': r.LOOPS,
        'val_cfg': r.LOOPS,
        'test_cfg': r.LOOPS,
        'log_processor': r.LOG_PROCESSORS,
        'model_wrapper_cfg': r.MODEL_WRAPPERS,
    }
    return tops.get(names[0])


@cache
def _registries() -> tuple[Registry, ...]:
    from mmaction import registry as r

    return tuple(getattr(r, name) for name in r.__all__)


def _resolve(kind: str, first: Registry | None) -> Callable[..., Any] | None:
    """The class of a type; only a dotted one may be imported by its name."""
    for registry in ((first,) if first is not None else ()) + _registries():
        registry.import_from_location()
        if '.' not in kind and kind not in _names_of(registry):
            continue
        found = registry.get(kind)
        if found is not None:
            return found
    return None


def is_registered(kind: str) -> bool:
    """Whether a type is in a registry, so that no module is imported because it is named.

    mmengine imports any other: `type: os.system` would be a call of it.
    """
    from mmaction.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    scope, _, name = kind.rpartition('.') if kind.count('.') == 1 else ('', '', kind)
    if scope in ('', 'mmaction', 'mmengine') and name in _registered():
        return True
    library, _, name = kind.partition('.')
    if library not in ('torchvision', 'timm'):
        return False
    try:
        return MODELS.children[library].get(name) is not None
    except ValueError:  # the library has no such model
        return False


def _names_of(registry: Registry) -> set[str]:
    names = set(registry.module_dict)
    return names | (_names_of(registry.parent) if registry.parent is not None else set())


def _all_names(way: tuple[str, ...]) -> set[str]:
    first = _registry_at(way)
    return _registered() if first is None else _names_of(first)


def _registered() -> set[str]:
    return set().union(*(_names_of(registry) for registry in _registries()))


@cache
def accepted_arguments(target: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Names of the keyword arguments that a class or function takes.

    `**kwargs` of a constructor is followed to the next constructor of the
    method resolution order.

    Returns:
        The names, and whether any other is taken as well.
    """
    if not inspect.isclass(target):
        names, is_open = _parameters(target)
        return frozenset(names), is_open
    collected: set[str] = set()
    for base in target.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        names, is_open = _parameters(vars(base)['__init__'])
        collected |= names
        if not is_open:
            return frozenset(collected), False
    return frozenset(collected), bool(collected)


def _parameters(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """Parameter names, and whether further keyword arguments are taken."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


@cache
def _imported(place: str) -> Any:
    """The class at a dotted place."""
    from importlib import import_module

    module, _, name = place.rpartition('.')
    return getattr(import_module(module), name)
