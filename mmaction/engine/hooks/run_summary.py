"""A few lines before the first step, by which a wrong set-up is seen at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper

from mmaction.engine.device_settings import settings_text
from mmaction.engine.optimizers.amp import precision_of
from mmaction.engine.runner.data_check import label_flips, splits_of
from mmaction.engine.runner.forecast import forecast
from mmaction.registry import HOOKS
from mmaction.utils.model_wrapper import bare_model
from mmaction.utils.plurals import how_many

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['StartReportHook', 'clip_facts', 'flip_facts', 'promised_weights']


@HOOKS.register_module()
class StartReportHook(Hook):
    """Log data, model, batch, device, learning rate, time and memory before the first step.

    It also warns where the config's name promises pretrained weights and none
    are given.

    Args:
        dry_run: Measure time and memory by a few steps that change nothing.
        runs: Runs like this that are to come, this one included, for what is said of the time.
    """

    priority = 'VERY_LOW'

    def __init__(self, dry_run: bool = True, runs: int = 1) -> None:
        self.dry_run = dry_run
        self.runs = runs

    def before_train(self, runner: ActionRunner) -> None:
        """Report on training."""
        swaps, doubts = flip_facts(runner.train_dataloader.dataset)
        wrapper = runner.optim_wrapper
        lines = [*self._splits(runner), *swaps, self._model(runner, precision_of(wrapper))]
        if isinstance(wrapper, OptimWrapper):
            lines += [self._batch(runner, wrapper), self._schedule(runner, wrapper)]
            lines.append(f'speed: {_settings(runner, wrapper)}')
        found = forecast(runner) if self.dry_run and is_main_process() else None
        if found is not None:
            on_gpu = next(bare_model(runner.model).parameters()).is_cuda
            lines += found.lines(on_gpu, self.runs)
        runner.logger.info('\n'.join(['before the first step', *(f'  {line}' for line in lines)]))
        for doubt in doubts:
            runner.logger.warning(doubt)
        warning = promised_weights(runner.cfg)
        if warning and runner.iter == 0:
            runner.logger.warning(warning)

    def before_test(self, runner: ActionRunner) -> None:
        """Report on testing."""
        # mmengine's loop computes in fp32 unless it has fp16.
        loop = runner.test_loop
        precision = getattr(loop, 'precision', 'fp16' if getattr(loop, 'fp16', False) else 'off')
        precision = 'fp32' if precision == 'off' else precision
        lines = self._splits(runner) + [self._model(runner, precision)]
        runner.logger.info('\n'.join(['before testing', *(f'  {line}' for line in lines)]))

    def _splits(self, runner: ActionRunner) -> list[str]:
        lines = []
        for name, facts in splits_of(runner).items():
            text = f'{name + ":":7}{how_many(facts.clips, "clip")}'
            if facts.classes:
                classes = how_many(facts.classes, 'class', 'classes')
                text += f' of {classes} (labels {facts.lowest} to {facts.highest})'
            loader = runner.cfg.get(f'{name}_dataloader') or {}
            shape = clip_facts((loader.get('dataset') or {}).get('pipeline') or [])
            lines.append(text + (f', {shape}' if shape else ''))
        return lines

    def _model(self, runner: ActionRunner, precision: str) -> str:
        model = bare_model(runner.model)
        parameters = list(model.parameters())
        total = sum(p.numel() for p in parameters)
        frozen = sum(p.numel() for p in parameters if not p.requires_grad)
        backbone = type(getattr(model, 'backbone', model)).__name__
        device = parameters[0].device if parameters else torch.device('cpu')
        where = f'{runner.world_size} x ' if runner.world_size > 1 else ''
        name = (
            torch.cuda.get_device_name(device)
            if device.type == 'cuda'
            else f'CPU, {how_many(torch.get_num_threads(), "thread")}'
        )
        text = f'model: {backbone}, {total / 1e6:.2f} M parameters'
        text += f' ({frozen / 1e6:.2f} M frozen)' if frozen else ''
        return f'{text}; device: {where}{name}, {precision}'

    def _batch(self, runner: ActionRunner, wrapper: OptimWrapper) -> str:
        loader = runner.train_dataloader
        size, steps = loader.batch_size or 1, wrapper._accumulative_counts
        factors = [f'{size} per process']
        factors += [f'{runner.world_size} processes'] if runner.world_size > 1 else []
        factors += [f'{steps} steps accumulated'] if steps > 1 else []
        text = f'batch: {how_many(size * steps * runner.world_size, "clip")} per update'
        return f'{text} ({" x ".join(factors)})' if len(factors) > 1 else text

    def _schedule(self, runner: ActionRunner, wrapper: OptimWrapper) -> str:
        rates = sorted({group['lr'] for group in wrapper.optimizer.param_groups})
        shown = f'{rates[0]:.3g}' if len(rates) == 1 else f'{rates[0]:.3g} to {rates[-1]:.3g}'
        first = '' if runner.iter == 0 else f' from step {runner.iter}'
        kind = type(wrapper.optimizer).__name__
        epochs = how_many(runner.max_epochs, 'epoch')
        return (
            f'run:   {how_many(runner.max_iters, "step")}{first} in {epochs}, {kind}, '
            f'learning rate {shown} at the start, seed {runner.seed}'
        )


def _settings(runner: ActionRunner, wrapper: OptimWrapper) -> str:
    """What is on of the settings that only change how fast a run is."""
    return settings_text(
        wrapper.optimizer,
        getattr(runner, 'compile_options', None) is not None,
        runner.cfg.get('env_cfg') or {},
        exact=runner.deterministic,
    )


_DIRECTIONS = re.compile(r'left|right|clockwise|\bup|\bdown|upward|downward', re.IGNORECASE)


def flip_facts(dataset: object) -> tuple[list[str], list[str]]:
    """Which labels flips of a dataset swap, in lines, and warnings where that may be a mistake."""
    lines, warnings = [], []
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    for flip in label_flips(dataset):
        if flip.fixed and classes:
            names = ', '.join(classes[label] for label in sorted(flip.fixed)[:5])
            more = ', ...' if len(flip.fixed) > 5 else ''
            lines.append(f'labels: no {flip.direction} Flip of {names}{more}')
        if not flip.swaps and flip.flip_label_map == 'names':
            continue
        if not flip.swaps:
            names = ', '.join(map(str, flip.flip_label_map))
            warnings.append(
                f'flip_label_map of the {flip.direction} Flip names {names}, which are no classes '
                'here: it is of another dataset and swaps no labels. Set it to None, or to the '
                'classes that a mirrored clip changes'
            )
            continue
        named = [
            tuple(str(classes[one]) if classes else str(one) for one in pair)
            for pair in flip.swaps.items()
        ]
        shown = ', '.join(f'{a} -> {b}' for a, b in named)
        lines.append(f'labels: a {flip.direction} Flip changes {shown}')
        odd = [pair for pair in named if not all(map(_DIRECTIONS.search, pair))]
        if classes and odd:
            warnings.append(
                f'flip_label_map labels mirrored clips of {odd[0][0]!r} as {odd[0][1]!r}: is it of '
                'this dataset? Otherwise set it to None, or to the classes that a flip changes'
            )
    return lines, warnings


def clip_facts(pipeline: list[Any]) -> str:
    """Views, frames and size of the clips that a pipeline makes, in words.

    Read from its config (`SampleFrames`, `Resize`, the crops), as far as they
    say it.
    """
    frames = size = ''
    views = 1
    for step in pipeline:
        if not isinstance(step, dict):
            continue
        kind = str(step.get('type', ''))
        if 'SampleFrames' in kind or kind == 'UniformSample':
            views *= step.get('num_clips', 1)
            interval = step.get('frame_interval', 1)
            frames = how_many(step.get('clip_len', '?'), 'frame')
            frames += f' at interval {interval}' if interval != 1 else ''
        elif kind == 'ThreeCrop' or kind == 'TenCrop':
            views *= 3 if kind == 'ThreeCrop' else 10
            size = _size(step.get('crop_size'))
        elif kind in ('CenterCrop', 'RandomCrop', 'MultiScaleCrop'):
            size = _size(step.get('crop_size', step.get('size', step.get('input_size'))))
        elif kind == 'Resize' and not step.get('keep_ratio', True):
            size = _size(step.get('scale'))
    if not frames:
        return ''
    several = f'{views} views of ' if views > 1 else ''
    return f'{several}{frames}' + (f' of {size}' if size else '')


def _size(value: object) -> str:
    if isinstance(value, int):
        return f'{value}x{value}'
    return f'{value[1]}x{value[0]}' if isinstance(value, (list, tuple)) else ''


def promised_weights(cfg: Config) -> str:
    """A warning where the config's name promises pretrained weights that it does not load.

    Names ending in `_1k` or `_22k` promise ImageNet weights, those that the config
    calls `imagenet_weights`; names of small sets (Diving48, HMDB51, UCF101) the
    Kinetics checkpoint in `load_from`.
    """
    name = Path(getattr(cfg, 'filename', None) or '').stem.lower()
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    given = [backbone.get('pretrained'), backbone.get('init_cfg'), cfg.get('load_from')]
    if any(given) or cfg.get('resume'):
        return ''
    if re.search(r'_(1k|22k)(_|$)', name):
        return (
            f'the backbone starts from random weights, though the name {name} promises ImageNet '
            'ones. The published accuracy is out of reach without them: give --cfg-options '
            f'model.backbone.pretrained={cfg.get("imagenet_weights", "FILE")} '
            '(checkpoints/README.md says more)'
        )
    if re.search(r'(diving48|hmdb51|ucf101)', name):
        return (
            f'the model starts from random weights, though {name} fine-tunes a Kinetics one: '
            'give --cfg-options load_from=FILE (checkpoints/README.md says where from)'
        )
    return ''
