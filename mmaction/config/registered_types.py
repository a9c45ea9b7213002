"""Looking up the `type` of a config's dict in the registries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from mmengine.registry import Registry

from mmaction import registry as r
from mmaction.registry import MODELS
from mmaction.utils.setup_env import register_all_modules

__all__ = ['candidates', 'is_registered', 'names_of', 'registry_at', 'resolve', 'role_at']

_ROLES = {
    'model': 'recognizers',
    'backbone': 'backbones',
    'neck': 'necks',
    'cls_head': 'heads',
    'loss_cls': 'losses',
}
"""Packages of models by the key that takes one."""


def registry_at(way: tuple[str, ...]) -> Registry | None:
    """The registry in which a `type` at this place is looked up, where one can tell."""
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
    return tuple(getattr(r, name) for name in r.__all__)


def resolve(kind: str, first: Registry | None) -> Callable[..., Any] | None:
    """The class of a type; only a dotted one may be imported by its name."""
    for registry in ((first,) if first is not None else ()) + _registries():
        registry.import_from_location()
        if '.' not in kind and kind not in names_of(registry):
            continue
        found = registry.get(kind)
        if found is not None:
            return found
    return None


def is_registered(kind: str) -> bool:
    """Whether a type is in a registry, so that no module is imported because it is named.

    mmengine imports any other: `type: os.system` would be a call of it.
    """
    register_all_modules(init_default_scope=False)
    scope, _, name = kind.rpartition('.') if kind.count('.') == 1 else ('', '', kind)
    if scope in ('', 'mmaction', 'mmengine') and name in _registered():
        return True
    library, _, name = kind.partition('.')
    if library not in ('torchvision', 'timm', 'transformers'):
        return False
    try:
        return MODELS.children[library].get(name) is not None
    except ValueError:  # the library has no such model
        return False


def names_of(registry: Registry) -> set[str]:
    """Names of all that is registered, its parents' included."""
    names = set(registry.module_dict)
    return names | (names_of(registry.parent) if registry.parent is not None else set())


def candidates(way: tuple[str, ...]) -> set[str]:
    """The types that may stand at a place: of a backbone's, the backbones."""
    first = registry_at(way)
    names = _registered() if first is None else names_of(first)
    role = role_at(way)
    if role is None:
        return names
    return {name for name in names if f'.models.{role}.' in _module_of(name)} or names


def role_at(way: tuple[str, ...]) -> str | None:
    """The package of models that a place takes: `backbones`, `heads`, ...; None elsewhere."""
    return _ROLES.get(way[-1]) if way[0] == 'model' else None


def _module_of(name: str) -> str:
    """The module in which a registered model is; users' own count as backbones, heads and so on."""
    module = getattr(MODELS.get(name), '__module__', '')
    ours = module.split('.')[0] in ('mmaction', 'mmengine', 'torch')
    return module if ours else ''.join(f'.models.{role}.' for role in _ROLES.values())


def _registered() -> set[str]:
    return set().union(*(names_of(registry) for registry in _registries()))
