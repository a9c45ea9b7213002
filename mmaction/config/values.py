"""Telling a value of a config that cannot be meant: of a wrong type, or out of range.

Types are read from the annotations of the class that takes the value. Where an
annotation is missing or says nothing that a config could hold, nothing is checked.
"""

from __future__ import annotations

import collections.abc
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import torch

from mmaction.errors import ConfigError
from mmaction.utils.cli import brief

__all__ = ['annotations_of', 'check_hint', 'check_type', 'check_value']

_WORDS = {
    int: 'an integer',
    float: 'a number',
    bool: 'True or False',
    str: 'a string',
    type(None): 'None',
}
_LARGEST_INTEGER = 2**63 - 1

_AT_LEAST = {
    'batch_size': 1,
    'num_workers': 0,
    'prefetch_factor': 1,
    'timeout': 0,
    'max_epochs': 1,
    'max_iters': 1,
    'val_begin': 0,
    'val_interval': 1,
    'accumulative_counts': 1,
    'lr': 0,
    'weight_decay': 0,
    'momentum': 0,
    'dampening': 0,
    'eps': 0,
    'max_norm': 0,
    'clip_value': 0,
    'lr_mult': 0,
    'decay_mult': 0,
    'begin': 0,
    'eta_min': 0,
    'window_size': 1,
    'base_batch_size': 1,
    'seed': 0,
    'opencv_num_threads': 0,
    'num_batch_per_epoch': 1,
}
"""Least values of the numbers by which a run is set up, wherever the runner reads them."""
_PROBABILITIES = {
    'attn_drop_rate',
    'drop_path_rate',
    'drop_rate',
    'dropout_ratio',
    'flip_ratio',
    'label_smooth_eps',
}
_CHOICES = {
    'env_cfg.mp_cfg.mp_start_method': ('fork', 'spawn', 'forkserver'),
    'log_level': ('NOTSET', 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'),
}
_TYPES: dict[str, Any] = {
    'model': dict,
    'work_dir': str | None,
    'train_dataloader': dict | None,
    'val_dataloader': dict | None,
    'test_dataloader': dict | None,
    'train_cfg': dict | None,
    'val_cfg': dict | None,
    'test_cfg': dict | None,
    'optim_wrapper': dict | None,
    'param_scheduler': dict | list | None,
    'val_evaluator': dict | list | None,
    'test_evaluator': dict | list | None,
    'default_hooks': dict | None,
    'custom_hooks': list | None,
    'load_from': str | None,
    'resume': bool,
    'env_cfg': dict,
    'log_processor': dict,
    'visualizer': dict | None,
    'randomness': dict | None,
    'auto_scale_lr': dict | None,
    'experiment_name': str | None,
    'default_scope': str | None,
    'find_unused_parameters': bool,
    'compile': bool | str | dict | None,
    'sync_bn': bool | str | None,
    'auto_scale_lr.enable': bool,
    'auto_scale_lr.base_batch_size': int,
    'randomness.seed': int | None,
    'randomness.diff_rank_seed': bool,
    'randomness.deterministic': bool,
    'env_cfg.cudnn_benchmark': bool,
    'env_cfg.tf32': bool,
    'env_cfg.resource_limit': int,
    'env_cfg.mp_cfg': dict,
    'env_cfg.dist_cfg': dict,
    'env_cfg.mp_cfg.opencv_num_threads': int,
    'env_cfg.dist_cfg.timeout': float,
    'env_cfg.dist_cfg.backend': str,
    'env_cfg.dist_cfg.init_backend': str,
    'env_cfg.dist_cfg.port': int,
    'train_cfg.by_epoch': bool,
    'optim_wrapper.optimizer': dict,
    'optim_wrapper.paramwise_cfg': dict | None,
    'optim_wrapper.paramwise_cfg.custom_keys': dict | None,
    'train_dataloader.dataset': dict,
    'train_dataloader.sampler': dict | None,
    'train_dataloader.batch_sampler': dict | None,
    'val_dataloader.dataset': dict,
    'val_dataloader.sampler': dict | None,
    'val_dataloader.batch_sampler': dict | None,
    'test_dataloader.dataset': dict,
    'test_dataloader.sampler': dict | None,
    'test_dataloader.batch_sampler': dict | None,
}
"""Types of what the runner reads itself."""
_RUNNER_PARTS = (
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'param_scheduler',
    'log_processor',
    'auto_scale_lr',
    'randomness',
    'env_cfg',
)


def check_type(place: str, value: object, target: Callable[..., Any], key: str) -> None:
    """Hold a value against the annotation of the argument that takes it.

    Args:
        place: Dotted way to the value, for the message.
        value: The value.
        target: Class or function whose argument it is.
        key: Name of the argument.

    Raises:
        ConfigError: It is of another type.
    """
    check_hint(place, value, annotations_of(target).get(key, Any), target)


def check_hint(place: str, value: object, hint: object, target: object = None) -> None:
    """Hold a value against a type.

    Args:
        place: Dotted way to the value, for the message.
        value: The value.
        hint: The type, as an annotation.
        target: Class or function that takes it.

    Raises:
        ConfigError: It is of another type.
    """
    # Epochs may be parts of one: the published warm-up ends at 2.5.
    scheduler = getattr(target, '__module__', '').startswith('mmengine.optim.scheduler')
    if not _fits(value, float if scheduler and hint is int else hint):
        expected = ' or '.join(dict.fromkeys(_words(hint)))
        raise ConfigError(f'config key {place}: expected {expected}, found {brief(value)}')


def check_value(way: tuple[str, ...], value: object) -> None:
    """Refuse what no setting means: NaN anywhere, a number out of range, another type.

    Args:
        way: Keys that lead to the value.
        value: Any value of a config.

    Raises:
        ConfigError: It is out of range, or none of the known choices.
    """
    place = '.'.join(way)
    if place in _TYPES:
        check_hint(place, value, _TYPES[place])
    choices = _CHOICES.get(place)
    if choices is not None and value not in choices:
        raise ConfigError(
            f'config key {place}: expected one of {", ".join(choices)}, found {brief(value)}'
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        problem = _out_of_range(way, value)
        if problem:
            raise ConfigError(f'config key {place}: {problem}')


def _out_of_range(way: tuple[str, ...], value: float) -> str:
    """What is wrong with a number, in words; empty if nothing is."""
    key = way[-1]
    if math.isnan(value):
        return 'nan is no value, set a number'
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return f'{value:.3g} is larger than any integer here'
    if key in _PROBABILITIES and not 0 <= value <= 1:
        return f'expected a number from 0 to 1, found {value}'
    if way[0] in ('default_hooks', 'custom_hooks'):
        never = key in ('interval', 'max_keep_ckpts') and value < 1 and value != -1
        return f'expected at least 1, or -1 for never, found {value}' if never else ''
    if way[0] not in _RUNNER_PARTS or 'dataset' in way:
        return ''
    least = _AT_LEAST.get(key)
    if least is not None and (value < least or (math.isinf(value) and key != 'max_norm')):
        return f'expected a finite number of at least {least}, found {value}'
    if key == 'num_workers' and value > _most_workers():
        return (
            f'{value} processes are more than {_most_workers()}, 16 for each of the '
            f'{os.cpu_count()} cores of this machine'
        )
    return f'expected less than 2**32, found {value}' if key == 'seed' and value >= 2**32 else ''


def _most_workers() -> int:
    return max(64, 16 * (os.cpu_count() or 1))


@cache
def annotations_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The type of each argument of a class or function, as far as it is annotated.

    An argument whose default is None takes None, whatever its annotation says.
    """
    functions = [target]
    if inspect.isclass(target):
        functions = [
            vars(base)['__init__']
            for base in target.__mro__
            if base is not object and '__init__' in vars(base)
        ]
    found: dict[str, Any] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            continue
        for name, parameter in parameters.items():
            if name in found:
                continue
            default = parameter.default
            if parameter.annotation is parameter.empty:
                # mmengine leaves some out, whose defaults are of the type that is meant.
                ours = getattr(function, '__module__', '').startswith('mmengine.')
                if ours and type(default) in (bool, int, float, str):
                    found[name] = type(default)
            else:
                hint = _evaluated(parameter.annotation, function)
                optional = default is None
                found[name] = typing.Union[hint, None] if optional else hint  # noqa: UP007
    return found


def _evaluated(annotation: object, function: Callable[..., Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(getattr(function, '__globals__', {})))
    except Exception:  # imported for type checkers only
        return Any


def _fits(value: object, hint: object) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is typing.Literal:
        return value in args
    plain = _SCALARS.get(hint) if isinstance(hint, collections.abc.Hashable) else None
    if plain is not None:
        return plain(value)
    kind = origin if inspect.isclass(origin) else hint
    if kind is collections.abc.Callable or not inspect.isclass(kind):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if issubclass(kind, (Sequence, set)) or kind is collections.abc.Iterable:
        return _items_fit(value, kind, args)
    if kind is torch.Tensor:  # beside a number, in torch's optimizers
        return isinstance(value, (list, tuple))
    # Anything else is built from a config, or is nothing that a config holds.
    return True


_SCALARS: dict[Any, Callable[[Any], bool]] = {
    None: lambda value: value is None,
    type(None): lambda value: value is None,
    bool: lambda value: isinstance(value, bool) or (type(value) is int and value in (0, 1)),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    str: lambda value: isinstance(value, (str, PurePath)),
    Path: lambda value: isinstance(value, (str, PurePath)),
}


def _items_fit(value: object, kind: type, args: tuple[Any, ...]) -> bool:
    if isinstance(value, (str, Mapping)) or not isinstance(value, collections.abc.Iterable):
        return False
    if not args or not isinstance(value, (list, tuple)):
        return True
    if kind is tuple and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(_fits, value, args))
    return all(_fits(item, args[0]) for item in value)


def _words(hint: object) -> list[str]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return [word for one in args for word in _words(one)]
    if origin is typing.Literal:
        return [', '.join(map(repr, args))]
    if hint in _WORDS:
        return [_WORDS[hint]]
    kind = origin if inspect.isclass(origin) else hint
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return ['a dict']
    if inspect.isclass(kind) and (kind is tuple or issubclass(kind, (Sequence, list))):
        inner = [word for one in args if one is not Ellipsis for word in _words(one)]
        return [f'a list of {", ".join(dict.fromkeys(inner))}' if inner else 'a list']
    return [getattr(kind, '__name__', str(kind))]
