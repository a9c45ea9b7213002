"""Which model, weights, batch and epochs suit clips and machine, and the config that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmaction.config.load import load_config
from mmaction.datasets import VideoDataset
from mmaction.engine.runner.dry_run import dry_run
from mmaction.errors import CheckpointError
from mmaction.registry import DATASETS, MODELS
from mmaction.utils.cli import available_cores, describe
from mmaction.utils.download import DownloadError, download
from mmaction.utils.packaged_configs import close_configs, packaged_configs, published_model
from mmaction.utils.suggest import close_names

__all__ = [
    'MODEL_NAMES',
    'Recipe',
    'Weights',
    'check_choices',
    'choose_config',
    'choose_recipe',
    'config_text',
    'fit_batch',
    'frames_needed',
    'learning_rate',
]

MODEL_NAMES = {
    'pico': 'pico_finetune',
    'resnet18': 'resnet18_finetune',
    's3d': 's3d_finetune',
    'tiny': 'tiny_finetune',
}
"""Short names of `--model`."""

_SMALL = 112  # pixels of the short side, up to which pico looks at 40 x 40 instead of 80 x 80
_CLIPS_FROM_SCRATCH = 21_000  # that a network without pretrained weights looks at
_CLIPS_PRETRAINED = 3_000
_LARGEST_BATCH = 32


class Weights(NamedTuple):
    """What training starts from.

    Args:
        load_from: Checkpoint of the whole model, or None.
        pretrained: Value of `model.backbone.pretrained`, or None.
        text: The same in words.
    """

    load_from: str | None
    pretrained: str | bool | None
    text: str

    @property
    def found(self) -> bool:
        """Whether there are any."""
        return self.load_from is not None or bool(self.pretrained)


class Recipe(NamedTuple):
    """How to train.

    Args:
        base: Name or path of the config that the new one starts from.
        weights: What training starts from.
        batch: Clips of a step.
        epochs: Times that every clip is seen.
        rate: Learning rate; None keeps that of the base.
        workers: Processes that read clips.
        threads: Cores that compute; None leaves it to PyTorch.
        frozen_stages: Stages of the backbone that keep their weights; None: as the base.
        swap_flips: Whether flips of the base keep the label of "turn left", which finetune swaps.
    """

    base: str
    weights: Weights
    batch: int
    epochs: int
    rate: float | None
    workers: int
    threads: int | None
    frozen_stages: int | None = None
    swap_flips: bool = False


def choose_config(model: str | None, short_side: int) -> str:
    """The base config: what was asked for, else pico on a CPU and Tiny on a GPU.

    Args:
        model: A short name, a config of the package, or a file.
        short_side: Pixels of the shorter side of the clips.

    Raises:
        FileNotFoundError: There is no such model.
    """
    if model is None:
        model = 'tiny' if torch.cuda.is_available() else 'pico'
    if model == 'pico' and short_side <= _SMALL:
        return 'pico_small_finetune'
    if model in MODEL_NAMES:
        return MODEL_NAMES[model]
    if model.removesuffix('.py') in packaged_configs() or Path(model).is_file():
        return model
    near = close_names(model, {*MODEL_NAMES, *packaged_configs()}, count=2) or close_configs(model)
    hint = (
        f'did you mean {" or ".join(near)}?'
        if near
        else (
            f'there are {", ".join(MODEL_NAMES)}, and every config of the package '
            '("mmaction info --configs" lists them)'
        )
    )
    raise FileNotFoundError(f'--model: there is no {model}; {hint}')


def check_choices(model: str | None, weights: str | None, freeze: int | None) -> None:
    """Refuse what cannot be trained, before hours go into preparing the videos.

    Raises:
        FileNotFoundError: There is no such model, or no such file of weights.
        ValueError: The model is not for videos with one label each, or cannot be frozen, or only
            as random weights.
    """
    if weights not in (None, 'none') and '://' not in weights and not Path(weights).is_file():
        raise FileNotFoundError(f'--weights: there is no file {weights}')
    base = choose_config(model, _SMALL)
    cfg = load_config(base)
    kind = (cfg.get('train_dataloader') or {}).get('dataset', {}).get('type')
    if kind is None or not issubclass(DATASETS.get(kind) or object, VideoDataset):
        raise ValueError(
            f'--model: {base} trains on {kind}, finetune on videos: take a config of VideoDataset'
        )
    if cfg.model.cls_head.get('multi_class'):
        raise ValueError(
            f'--model: {base} is for clips with several labels, finetune for clips with one'
        )
    if _stages(cfg, freeze) is not None and weights != 'none':
        found = find_weights(base, cfg, weights)
        if not found.found:
            raise ValueError(
                f'--freeze would keep {found.text}, of which a head learns little: give '
                '--weights FILE, or leave --freeze out'
            )


def find_weights(base: str, cfg: Config, given: str | None) -> Weights:
    """Pretrained weights: what was given, else those that the config or its metafile names.

    Files are taken where they are, addresses from the cache or the network. What cannot be
    had is said in `text`.

    Args:
        base: Name or path of the config.
        cfg: The config.
        given: A file, an address, 'none' to start from random weights, or None.

    Raises:
        FileNotFoundError: The file that was given is not there.
        DownloadError: What was given cannot be fetched.
    """
    if given == 'none':
        return Weights(None, None, 'random weights, as asked for (--weights none)')
    if given is not None:
        path = str(download(given)) if '://' in given else given
        if not Path(path).is_file():
            raise FileNotFoundError(f'--weights: there is no file {given}')
        return Weights(str(Path(path).resolve()), None, f'the weights {given}')
    missing = []
    published = published_model(Path(base).stem if base.endswith('.py') else base)
    for source in filter(None, (cfg.get('load_from'), published and published[1])):
        try:
            path = str(download(source)) if '://' in source else source
        except DownloadError as error:
            missing.append(describe(error))
            continue
        if Path(path).is_file():
            return Weights(str(Path(path).resolve()), None, f'the weights {source}')
        missing.append(f'there is no file {source}')
    pretrained = cfg.model.backbone.get('pretrained') or cfg.get('imagenet_weights')
    if pretrained:
        what = 'its library' if pretrained is True else str(pretrained)
        if pretrained is True or '://' in pretrained:
            # Libraries ask again several times before they give up, which looks like a hang.
            print(
                f'looking for pretrained weights of {cfg.model.backbone.type} ({what}) in the '
                'cache and on the web: a minute or more without a network (--weights none: skip)',
                flush=True,
            )
        problem = _try_pretrained(cfg, pretrained)
        if problem is None:
            return Weights(None, pretrained, f'pretrained weights of the backbone ({what})')
        missing.append(problem)
    why = f' ({"; ".join(missing)})' if missing else ''
    return Weights(None, None, f'random weights{why}')


def _try_pretrained(cfg: Config, pretrained: str | bool) -> str | None:
    """Why the backbone cannot load its pretrained weights; None if it can."""
    backbone = {**cfg.model.backbone, 'pretrained': pretrained}
    init_default_scope('mmaction')
    try:
        MODELS.build(backbone).init_weights()
    except (OSError, ValueError, RuntimeError, CheckpointError) as error:
        return describe(error)
    return None


def choose_recipe(
    base: str,
    clips: int,
    *,
    weights: str | None = None,
    batch: int | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    freeze: int | None = None,
) -> Recipe:
    """What was asked for, and for the rest what suits the clips and the machine.

    Args:
        base: Name or path of the base config.
        clips: Number of training clips.
        weights: See `find_weights`.
        batch: Clips of a step.
        epochs: Epochs.
        workers: Processes that read.
        freeze: Stages of the backbone to keep as they are; -1 for all.
    """
    cfg = load_config(base)
    found = find_weights(base, cfg, weights)
    on_gpu = torch.cuda.is_available()
    cores = available_cores()
    if workers is None:
        workers = max(1, min(8, cores - 1) if on_gpu else cores // 2)
    if batch is None:
        # Four steps an epoch at least, lest a small set has none for its schedule.
        most = min(_LARGEST_BATCH if on_gpu else 16, max(4, clips // 4))
        batch = int(2 ** int(math.log2(most)))
    if epochs is None:
        least, seen = (10, _CLIPS_PRETRAINED) if found.found else (30, _CLIPS_FROM_SCRATCH)
        epochs = min(100, max(least, round(seen / clips)))
    return Recipe(
        base,
        found,
        batch,
        epochs,
        learning_rate(cfg, batch),
        workers,
        None if on_gpu else max(1, cores - workers),
        _stages(cfg, freeze),
        any(
            step['type'] == 'Flip' and step.get('flip_label_map') != 'names'
            for step in cfg.train_dataloader.dataset.get('pipeline') or ()
        ),
    )


def learning_rate(cfg: Config, batch: int) -> float | None:
    """The rate of the config, which is made for another batch, for this one.

    Adam's steps do not grow with the gradient: with the square root of a larger batch
    (arXiv:2205.10287). For a smaller one the rate stays: an epoch has more steps then, and a lower
    rate learns less (docs/training.md has the measurement). SGD: in proportion
    (arXiv:1706.02677). None leaves it as it is.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or 16
    optimizer = cfg.optim_wrapper.optimizer
    ratio = batch / base
    factor = ratio if optimizer.type == 'SGD' else max(1.0, math.sqrt(ratio))
    return None if factor == 1 else float(f'{optimizer.lr * factor:.2g}')


def _stages(cfg: Config, freeze: int | None) -> int | None:
    """`frozen_stages`; -1 means all stages of the backbone.

    Raises:
        ValueError: The backbone has no such option.
    """
    if freeze is None:
        return None
    init_default_scope('mmaction')
    backbone = MODELS.build({**cfg.model.backbone, 'pretrained': None})
    if not hasattr(backbone, 'frozen_stages'):
        raise ValueError(
            f'--freeze: {cfg.model.backbone.type} has no frozen_stages; take --model pico, tiny '
            'or one of the convolutional models of the package'
        )
    if freeze >= 0:
        return freeze
    stages = getattr(backbone, 'blocks', None)
    return len(stages) if stages is not None else 4


def fit_batch(recipe: Recipe, config: Path) -> int:
    """The largest power of two up to the batch of the recipe that fits into the GPU."""
    cfg = load_config(config)
    init_default_scope('mmaction')
    clip = DATASETS.build(cfg.train_dataloader.dataset)[0]
    model = MODELS.build(cfg.model).cuda()
    amp = cfg.optim_wrapper.type == 'AmpOptimWrapper'
    found = dry_run(
        model,
        clip,
        2,
        collate=pseudo_collate,
        optimizer=cfg.optim_wrapper.optimizer.type,
        context=lambda: torch.autocast('cuda', dtype=torch.float16, enabled=amp),
    )
    del model
    torch.cuda.empty_cache()
    if found is None or found.largest >= recipe.batch:
        return recipe.batch
    return int(2 ** int(math.log2(max(1, found.largest))))


def frames_needed(cfg: Config) -> int:
    """Frames of a video that a training clip spans; in shorter ones frames repeat. 0: not known."""
    for step in cfg.train_dataloader.dataset.get('pipeline') or ():
        if 'clip_len' in step and not step.get('target_fps'):
            spanned = (step['clip_len'] - 1) * (step.get('frame_interval') or 1) + 1
            # Clips of one frame are taken from one segment of the video each.
            return max(int(spanned), int(step.get('num_clips', 1)))
    return 0


def config_text(
    recipe: Recipe, *, title: str, classes: int, lists: str, videos: str, splits: Sequence[str]
) -> str:
    """The config that is trained: what a person would write.

    Args:
        recipe: How to train.
        title: First line, a comment.
        classes: Number of classes.
        lists: Folder of the lists, from that of the config on.
        videos: Folder of the videos, likewise or absolute.
        splits: The lists that are there: 'train', 'test' and maybe 'val'.
    """
    steps = max(1, recipe.epochs // 10)
    lines = [
        f'# {title}',
        f'_base_ = {recipe.base!r}',
        '',
        "data_root = '{{ fileDirname }}'",
        # All of them are called config, and would share work_dirs/config.
        "work_dir = '{{ fileDirname }}/{{ fileBasenameNoExtension }}'",
        f'clips = dict(data_root=data_root, data_prefix=dict(video={videos!r}))',
    ]
    if recipe.swap_flips:
        lines += [
            'train_pipeline = [',
            "    dict(step, flip_label_map='names') if step['type'] == 'Flip' else step",
            '    for step in _base_.train_dataloader.dataset.pipeline',
            ']',
        ]
    for split, batch in (('train', recipe.batch), ('val', recipe.batch), ('test', None)):
        if split not in splits:
            lines += [f'{split}_dataloader = {split}_evaluator = {split}_cfg = None']
            continue
        size = '' if batch is None else f'batch_size={batch}, '
        flips = 'pipeline=train_pipeline, ' if recipe.swap_flips and split == 'train' else ''
        lines += [
            f'{split}_dataloader = dict(',
            f'    {size}num_workers={recipe.workers},',
            f"    dataset=dict(ann_file='{lists}/{split}.txt', {flips}**clips),",
            ')',
        ]
    lines += ['', f'model = dict(cls_head=dict(num_classes={classes}))']
    backbone: dict[str, Any] = {}
    if recipe.frozen_stages is not None:
        backbone['frozen_stages'] = recipe.frozen_stages
    if recipe.weights.pretrained is not None:
        backbone['pretrained'] = recipe.weights.pretrained
    if backbone:
        inner = ', '.join(f'{key}={value!r}' for key, value in backbone.items())
        head = f'    cls_head=dict(num_classes={classes}),'
        lines[-1:] = ['model = dict(', f'    backbone=dict({inner}),', head, ')']
    lines += [f'load_from = {recipe.weights.load_from!r}', '']
    if recipe.rate is not None:
        lines += [f'optim_wrapper = dict(optimizer=dict(lr={recipe.rate!r}))']
    lines += [
        f'train_cfg = dict(max_epochs={recipe.epochs}, val_begin={steps}, val_interval={steps})',
        f'default_hooks = dict(checkpoint=dict(interval={steps}, max_keep_ckpts=2))',
        'compile = False  # it takes minutes, which pay in runs of hours',
    ]
    return '\n'.join(lines) + '\n'
