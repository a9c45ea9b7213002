"""Optimizer, precision, accumulation and learning rate of a 0.x config.

Source of the old meanings: the optimizer and learning-rate hooks of mmcv 1.x, and
`DistOptimizerHook` as the DualFormer release uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from mmaction.errors import ConfigError
from mmaction.utils.suggest import did_you_mean

from .section import ConversionNotes, LegacySection

__all__ = ['convert_learning_rate', 'convert_optimizer', 'update_interval']

_HOOKS = {
    'OptimizerHook',
    'DistOptimizerHook',
    'Fp16OptimizerHook',
    'GradientCumulativeOptimizerHook',
    'GradientCumulativeFp16OptimizerHook',
}
_CONSTRUCTORS = {'TSMOptimizerConstructor': 'TSMOptimWrapperConstructor'}
_POLICIES = ('CosineAnnealing', 'CosineRestart', 'Exp', 'Fixed', 'Poly', 'Step')


def update_interval(optimizer_config: Any) -> int:
    """By how much the batch of a GPU is divided, and how many such batches make an update.

    Raises:
        ConfigError: It is no positive integer.
    """
    interval = (optimizer_config or {}).get('update_interval', 1)
    if type(interval) is not int or interval < 1:
        raise ConfigError(
            f'config key optimizer_config.update_interval: {interval!r} is no positive integer'
        )
    return interval


def convert_optimizer(
    optimizer: Optimizer, optimizer_config: object, fp16: object, notes: ConversionNotes
) -> dict[str, Any]:
    """`optimizer`, `optimizer_config` and `fp16` as an `optim_wrapper`."""
    rest = dict(LegacySection(optimizer, 'optimizer', notes).values)
    rules = rest.pop('paramwise_cfg', None)
    constructor = rest.pop('constructor', None)

    hook = LegacySection(optimizer_config, 'optimizer_config', notes)
    kind = hook.take('type', 'OptimizerHook')
    if kind not in _HOOKS:
        raise ConfigError(
            f'config key optimizer_config.type: "{kind}" has no counterpart here'
            + did_you_mean(str(kind), _HOOKS, list_known=True)
        )
    steps = update_interval(optimizer_config) * hook.take('cumulative_iters', 1)
    hook.take('update_interval')
    half = bool(hook.take('use_fp16')) or 'Fp16' in kind or fp16 is not None
    wrapper: dict[str, Any] = dict(type='AmpOptimWrapper' if half else 'OptimWrapper')
    if half:
        wrapper['dtype'] = 'float16'
    scale = hook.take('loss_scale')
    if fp16 is not None or 'Fp16' in kind:
        section = LegacySection(fp16, 'fp16', notes)
        scale = section.take('loss_scale', 512.0 if scale is None else scale)
        section.close()
    if scale not in (None, 'dynamic'):
        wrapper['loss_scale'] = scale
    wrapper['optimizer'] = rest
    if rules:
        wrapper['paramwise_cfg'] = rules
    if constructor not in (None, 'DefaultOptimizerConstructor'):
        wrapper['constructor'] = _CONSTRUCTORS.get(constructor, constructor)
    if steps > 1:
        wrapper['accumulative_counts'] = steps
    clip = hook.take('grad_clip')
    if clip:
        wrapper['clip_grad'] = clip
    # How gradients travel between processes and GPUs is PyTorch's business today.
    hook.not_needed('coalesce', 'bucket_size_mb', 'distributed')
    hook.lost('detect_anomalous_params', 'torch.autograd.set_detect_anomaly does the like')
    hook.close()
    return wrapper


def convert_learning_rate(
    lr_config: object, epochs: int, notes: ConversionNotes
) -> list[dict[str, Any]]:
    """`lr_config` as `param_scheduler`.

    Args:
        lr_config: The old dict; None keeps the learning rate.
        epochs: Epochs of the run, in which annealing ends.
        notes: Where keys without a counterpart go.

    Raises:
        ConfigError: The policy or the warm-up has no counterpart.
    """
    section = LegacySection(lr_config, 'lr_config', notes)
    policy = str(section.take('policy', 'Fixed'))
    # As in mmcv: a name in small letters is capitalized, any other is taken as it is.
    policy = policy.title() if policy.islower() else policy
    by_epoch = bool(section.take('by_epoch', True))
    warm_up = _warm_up(section)
    schedulers = _policy(policy, section, epochs, by_epoch)
    section.close()
    return warm_up + schedulers


def _warm_up(section: LegacySection) -> list[dict[str, Any]]:
    kind = section.take('warmup')
    length = section.take('warmup_iters', 0)
    ratio = section.take('warmup_ratio', 0.1)
    by_epoch = bool(section.take('warmup_by_epoch', False))
    if kind is None:
        return []
    if kind not in ('linear', 'constant', 'exp'):
        raise ConfigError(
            f"config key lr_config.warmup: {kind!r} has no counterpart here; 'linear', 'constant' "
            "and 'exp' have"
        )
    if not isinstance(length, (int, float)) or length <= 0:
        raise ConfigError(
            f'config key lr_config.warmup_iters: {length!r} must be above 0 with warmup={kind!r}'
        )
    span = dict(convert_to_iter_based=True) if by_epoch else dict(by_epoch=False)
    policy = {} if kind == 'linear' else dict(policy=kind)
    return [dict(type='WarmupLR', **policy, start_factor=ratio, end=length, **span)]


def _policy(
    policy: str, section: LegacySection, epochs: int, by_epoch: bool
) -> list[dict[str, Any]]:
    # Epochs become steps when the loader is there to tell how many.
    span: dict[str, Any] = dict(by_epoch=True, begin=0)
    if not by_epoch:
        span['convert_to_iter_based'] = True
    if policy == 'CosineAnnealing':
        return [dict(type='CosineAnnealingLR', T_max=epochs, **_least(section), **span, end=epochs)]
    if policy == 'Poly':
        least = section.take('min_lr', 0.0)
        power = section.take('power', 1.0)
        # mmengine arrives at the last value one epoch, or step, before `end`.
        end = epochs + 1 if by_epoch else epochs
        return [dict(type='PolyLR', power=power, eta_min=least, **span, end=end)]
    counted = dict(by_epoch=by_epoch)
    if policy == 'Step':
        step = section.need('step')
        gamma = section.take('gamma', 0.1)
        section.lost('min_lr', 'the learning rate goes below it')
        if isinstance(step, Sequence):
            return [dict(type='MultiStepLR', milestones=list(step), gamma=gamma, **counted)]
        return [dict(type='StepLR', step_size=step, gamma=gamma, **counted)]
    if policy == 'Exp':
        return [dict(type='ExponentialLR', gamma=section.need('gamma'), **counted)]
    if policy == 'CosineRestart':
        periods = section.need('periods')
        weights = section.take('restart_weights', [1])
        return [
            dict(
                type='CosineRestartLR',
                periods=list(periods),
                restart_weights=list(weights),
                **_least(section),
                **counted,
            )
        ]
    if policy != 'Fixed':
        raise ConfigError(
            f'config key lr_config.policy: "{policy}" has no counterpart here'
            + did_you_mean(policy, _POLICIES, list_known=True)
        )
    return []


def _least(section: LegacySection) -> dict[str, float]:
    """The learning rate at the end of a cosine, absolute or by the first one.

    Raises:
        ConfigError: Both are given, or none.
    """
    least, ratio = section.take('min_lr'), section.take('min_lr_ratio')
    if (least is None) == (ratio is None):
        raise ConfigError('config key lr_config: give one of "min_lr" and "min_lr_ratio"')
    return dict(eta_min=least) if ratio is None else dict(eta_min_ratio=ratio)
