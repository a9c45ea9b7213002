"""Telling a misspelt key or type of a config before anything is built.

Dicts with a `type` are held against the signature of the class; the dicts
without one that the runner reads (dataloaders, `env_cfg`, ...) against the keys
it knows. What no one here can know, such as arguments that a class only passes
on, is let through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from mmaction.errors import ConfigError
from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmaction.utils.cli import brief
from mmaction.utils.setup_env import register_all_modules
from mmaction.utils.suggest import close_names, did_you_mean

from .arguments import accepted_arguments
from .known_keys import (
    HOOK_NAMES,
    LISTS_OF_TYPED,
    MORE_KEYS,
    PARAMWISE,
    RUNNER_KEYS,
    TOGETHER,
    UNTYPED,
    USUAL_VARIABLES,
)
from .legacy.keys import SUCCESSORS
from .registered_types import candidates, names_of, registry_at, resolve, role_at
from .scope import refuse_left_out, why_missing
from .values import check_hint, check_type, check_value

__all__ = ['check_config', 'check_parts']

_ANY_LIBRARY = ('torchvision', 'timm', 'transformers', 'mmcls', 'mmpretrain', 'mmdet')


def check_config(cfg: Config) -> None:
    """Raise `ConfigError` for the first unknown key or type of a config.

    Raises:
        ConfigError: With the dotted way to the key, its name and the nearest
            known one.
    """
    register_all_modules(init_default_scope=False)
    refuse_left_out(cfg)
    _check_top_level(cfg)
    for name, value in cfg.items():
        # Of the other variables only the parts of the config count that are made of them.
        if name in RUNNER_KEYS:
            check_value((name,), value)
            try:
                _walk(value, (name,))
            except _UnknownArgumentError as error:
                raise ConfigError(f'{error}{_if_inherited(cfg, error.way)}') from None


class _UnknownArgumentError(ConfigError):
    def __init__(self, message: str, way: tuple[str, ...]) -> None:
        super().__init__(message)
        self.way = way


def _if_inherited(cfg: Config, way: tuple[str, ...]) -> str:
    """What to do about an argument that only a base of the config has; empty if the file has it."""
    file = Path(cfg.filename or '')
    # mmengine merges dicts by their keys, whatever becomes of the type.
    if not file.is_file() or way[-1] in file.read_text(encoding='utf-8'):
        return ''
    *holder, key = way
    return (
        f'. "{key}" is not in {file.name} but in a base of it: _delete_=True in '
        f'{".".join(holder)} leaves out what the base has there'
    )


def _fail(way: tuple[str, ...], message: str, name: str, known: Iterable[str]) -> ConfigError:
    hint = did_you_mean(name, known, list_known=True)
    return ConfigError(f'config key {".".join(way)}: {message}{hint}')


def check_parts(cfg: Config) -> None:
    """Raise `ConfigError` where a config gives some of what a run needs together.

    Raises:
        ConfigError: With the key that is missing.
    """
    for keys in TOGETHER:
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
    known = RUNNER_KEYS | USUAL_VARIABLES
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


def _walk(node: object, way: tuple[str, ...]) -> None:
    """Check a value and all below it."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            if way[-1] in LISTS_OF_TYPED and not (isinstance(item, dict) and 'type' in item):
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
    if 'type' in node and '.'.join(way) not in UNTYPED:
        _check_typed(node, way)
    else:
        _check_untyped(node, way)
    if way == ('optim_wrapper',):
        _check_paramwise(node)
        _check_clip_grad(node.get('clip_grad'))
    for key, value in node.items():
        check_value((*way, str(key)), value)
        _walk(value, (*way, str(key)))


def _check_typed(node: dict[str, Any], way: tuple[str, ...]) -> None:
    kind = node['type']
    if isinstance(kind, str):
        if kind.split('.')[0] in _ANY_LIBRARY and why_missing(kind) is None:
            return
        found = resolve(kind, registry_at(way))
        if found is None:
            raise _unknown_type(kind, way)
    elif callable(kind):
        found = kind
    else:
        raise ConfigError(
            f'config key {".".join((*way, "type"))}: expected the name of a class, found '
            f'{brief(kind)}'
        )
    _check_arguments(node, way, found)


def _check_arguments(node: dict[str, Any], way: tuple[str, ...], found: Callable[..., Any]) -> None:
    known, takes_more = accepted_arguments(found)
    extra = _extra_keys(way)
    known = known - {'self', 'runner', 'params', 'args', 'kwargs'} | set(extra) | {'type'}
    if way == ('optim_wrapper', 'optimizer') and isinstance(node.get('optimizer_type'), str):
        # ZeroRedundancyOptimizer hands the rest on.
        known |= _group_options(dict(type=node['optimizer_type']))
    for key, value in node.items():
        if key in known or str(key).startswith('_'):
            if key in extra:
                check_hint('.'.join((*way, key)), value, extra[key])
            elif key != 'type':
                check_type('.'.join((*way, str(key))), value, found, key)
            continue
        # What takes anything may still mean what it names itself.
        if takes_more and not close_names(key, known, cutoff=0.85):
            continue
        name = getattr(found, '__name__', str(node['type']))
        error = _fail((*way, key), f'{name} takes no argument "{key}"', key, known)
        raise _UnknownArgumentError(str(error), (*way, key))


def _unknown_type(kind: str, way: tuple[str, ...]) -> ConfigError:
    """The error of a type that is not registered: why, or the nearest one of the same role."""
    reason = why_missing(kind)
    if reason is not None:
        return ConfigError(f'config key {".".join((*way, "type"))}: {reason}')
    message = f'no class "{kind}" is registered'
    if role_at(way) == 'backbones':
        libraries = '"torchvision.NAME", "timm.NAME" and "transformers.NAME"'
        message += f' (models of other libraries are {libraries})'
    return _fail((*way, 'type'), message, kind, candidates(way))


def _check_untyped(node: dict[str, Any], way: tuple[str, ...]) -> None:
    place = '.'.join(way)
    known: Set[str] | None = UNTYPED.get(place)
    if len(way) == 1:
        readers = _readers().get(place, ())
        if readers:
            names = set().union(*(accepted_arguments(reader)[0] for reader in readers))
            known = names - {'self', 'runner', 'dataloader', 'evaluator'} | MORE_KEYS.get(
                place, set()
            )
        if place == 'default_hooks':
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
        if name in HOOK_NAMES or hook is None:
            if not isinstance(hook, (dict, Hook, type(None))):
                raise ConfigError(
                    f'config key default_hooks.{name}: expected a dict with "type" or None, '
                    f'found {brief(hook)}'
                )
            continue
        near = close_names(name, HOOK_NAMES, cutoff=0.8)
        if near or not (isinstance(hook, dict) and 'type' in hook):
            raise _fail(
                ('default_hooks', name), f'no default hook is called "{name}"', name, HOOK_NAMES
            )


def _check_paramwise(node: dict[str, Any]) -> None:
    """Check the learning-rate rules, where the constructor is one we know."""
    way = ('optim_wrapper',)
    for key in ('optimizer', 'paramwise_cfg'):
        if key in node:
            check_value((*way, key), node[key])
    constructor = node.get('constructor', 'DefaultOptimWrapperConstructor')
    rules = node.get('paramwise_cfg') or {}
    if isinstance(constructor, str):
        found = resolve(constructor, OPTIM_WRAPPER_CONSTRUCTORS)
        if found is None:
            raise _fail(
                (*way, 'constructor'),
                f'no constructor "{constructor}" is registered',
                constructor,
                names_of(OPTIM_WRAPPER_CONSTRUCTORS),
            )
        constructor = found
    elif not callable(constructor):
        raise ConfigError(
            'config key optim_wrapper.constructor: expected the name of a class, found '
            f'{brief(constructor)}'
        )
    default = getattr(constructor, '__name__', '') == 'DefaultOptimWrapperConstructor'
    # Not those of its base: a constructor of the user's may read more.
    known = PARAMWISE if default else vars(constructor).get('PARAMWISE_KEYS')
    if known is None:
        return
    for key in rules:
        if key not in known:
            raise _fail((*way, 'paramwise_cfg', key), f'no rule is called "{key}"', key, known)
    _check_custom_keys(rules.get('custom_keys') or {}, _group_options(node.get('optimizer') or {}))


def _check_custom_keys(rules: dict[str, Any], of_optimizer: set[str]) -> None:
    way = ('optim_wrapper', 'paramwise_cfg', 'custom_keys')
    check_value(way, rules)
    for pattern, rule in rules.items():
        if not isinstance(rule, dict):
            raise ConfigError(
                f'config key {".".join((*way, pattern))}: expected a dict such as '
                f'dict(lr_mult=0.1), found {brief(rule)}'
            )
        for key in rule:
            if key not in {'lr_mult', 'decay_mult'} | of_optimizer:
                message = f'no rule is called "{key}"'
                raise _fail((*way, pattern, key), message, key, {'lr_mult', 'decay_mult'})


def _group_options(optimizer: dict[str, Any]) -> set[str]:
    kind = optimizer.get('type')
    found = resolve(kind, OPTIMIZERS) if isinstance(kind, str) else kind
    return set(accepted_arguments(found)[0]) if callable(found) else set()


def _check_clip_grad(options: object) -> None:
    """Hold the options of clipping against the function of PyTorch that takes them."""
    if not isinstance(options, dict) or not options:
        return
    way = ('optim_wrapper', 'clip_grad')
    kind = options.get('type', 'norm')
    if kind not in ('norm', 'value'):
        raise ConfigError(
            f'config key optim_wrapper.clip_grad.type: expected norm or value, found {brief(kind)}'
        )
    clip, needed = _clipping()[kind]
    known = accepted_arguments(clip)[0] - {'parameters'} | {'type'}
    for key, value in options.items():
        if key not in known:
            message = f'clipping by {kind} takes no "{key}"'
            raise _fail((*way, key), message, key, known)
        # A norm may be called 'inf'.
        if (key, value) != ('norm_type', 'inf'):
            check_type('.'.join((*way, key)), value, clip, key)
    if needed not in options:
        raise ConfigError(f'config key optim_wrapper.clip_grad: clipping by {kind} needs {needed}')


def _extra_keys(way: tuple[str, ...]) -> dict[str, Any]:
    """Keys that a builder takes out before the class sees the rest, with their types."""
    if way[0] in ('default_hooks', 'custom_hooks'):
        return {'priority': Any}
    if way[0] == 'param_scheduler':
        return {'convert_to_iter_based': bool}
    if way == ('optim_wrapper',):
        # Each has a check of its own.
        return {'optimizer': Any, 'constructor': Any, 'paramwise_cfg': Any}
    if way == ('model', 'backbone'):
        return {'lora': dict | None, 'frozen': bool}
    if way[-1] == 'norm_cfg':
        return {'requires_grad': bool}
    return {}


@cache
def _clipping() -> dict[str, tuple[Callable[..., Any], str]]:
    """What clips by norm and by value, and the argument that either cannot do without."""
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    return {'norm': (clip_grad_norm_, 'max_norm'), 'value': (clip_grad_value_, 'clip_value')}


@cache
def _readers() -> dict[str, tuple[Callable[..., Any], ...]]:
    """The classes that read the dicts without `type`."""
    from mmengine.optim import OptimWrapper
    from mmengine.runner import (
        EpochBasedTrainLoop,
        IterBasedTrainLoop,
        LogProcessor,
        TestLoop,
        ValLoop,
    )
    from torch.utils.data import DataLoader

    return {
        'train_dataloader': (DataLoader,),
        'val_dataloader': (DataLoader,),
        'test_dataloader': (DataLoader,),
        'train_cfg': (EpochBasedTrainLoop, IterBasedTrainLoop),
        'val_cfg': (ValLoop,),
        'test_cfg': (TestLoop,),
        'log_processor': (LogProcessor,),
        'optim_wrapper': (OptimWrapper,),
    }
