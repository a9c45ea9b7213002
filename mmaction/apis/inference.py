"""A recognizer from a config and a checkpoint, and what it says of a video."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.config.load import load_config
from mmaction.config.options import Options
from mmaction.datasets import UnreadableVideoError
from mmaction.datasets.transforms.pipeline import Pipeline
from mmaction.datasets.video_source import Video, clip_info, clip_name
from mmaction.engine.runner.checkpoint import load_weights
from mmaction.errors import DivergedError
from mmaction.registry import MODELS, TRANSFORMS
from mmaction.structures import ActionDataSample
from mmaction.utils.checkpoint_reading import read_checkpoint
from mmaction.utils.class_names import find_class_names
from mmaction.utils.cli import raised_in

__all__ = [
    'inference_recognizer',
    'init_recognizer',
    'top_classes',
]

Steps = Sequence[dict[str, Any]]


def init_recognizer(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    cfg_options: Options = None,
) -> nn.Module:
    """Build a recognizer for inference.

    Args:
        config: Config file, or a config that was read already.
        checkpoint: Weights: a .pth or .safetensors file, a web address or one of the Hub
            (`hf://ORG/REPO`). Random weights if None; the backbone of a model of transformers
            then has its own.
        device: Where it runs; the first GPU, or the CPU without one, if None.
        cfg_options: Changes of the config, as `--cfg-options` takes them.

    Returns:
        The model in evaluation mode, with the attributes `cfg` and
        `dataset_meta`; `dataset_meta['classes']` are the names of the classes, or None
        (see `mmaction.utils.class_names.find_class_names`).

    Raises:
        TypeError: `config` is neither a path nor a config.
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The device does not exist, or the config is wrong.
        CheckpointError: The checkpoint does not fit the model.
    """
    if isinstance(config, (str, Path)):
        cfg = load_config(config, cfg_options)
    elif isinstance(config, Config):
        cfg = copy.deepcopy(config)
        if cfg_options:
            raise TypeError('cfg_options go with a config file, not with a config that is read')
    else:
        raise TypeError(f'config must be a path or a Config, not {type(config).__name__}')
    place = _device(device)
    # A model from custom_imports need not have a backbone.
    _skip_pretrained(cfg.model.get('backbone') or {}, replaced=checkpoint is not None)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    model = MODELS.build(cfg.model)
    meta: dict[str, Any] = {}
    if checkpoint is None:
        model.init_weights()
    else:  # which holds every weight: an init_cfg that fetches others has nothing to do
        content = read_checkpoint(checkpoint)
        diverged = load_weights(model, content, checkpoint, strict=True).warning(checkpoint)
        if diverged:
            warnings.warn(diverged, stacklevel=2)
        meta = content.get('meta') or {}
    count = getattr(getattr(model, 'cls_head', None), 'num_classes', None)
    names = None if count is None else find_class_names(cfg, count, meta)
    model.cfg, model.dataset_meta = cfg, {**(meta.get('dataset_meta') or {}), 'classes': names}
    placed: nn.Module = model.to(place).eval()
    return placed


def _skip_pretrained(backbone: dict[str, Any], *, replaced: bool) -> None:
    """Have a backbone load no weights of its own, which those of the checkpoint replace.

    LoRA adapts them, and a model of transformers without a checkpoint is its own weights.
    """
    if backbone.get('lora'):
        return
    if str(backbone.get('type')).startswith('transformers.'):
        if replaced:
            backbone['pretrained'] = False
    elif backbone.get('pretrained') is not None:
        backbone['pretrained'] = None


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device {device!r} is none such as "cpu" or "cuda:0"') from error
    if place.type == 'cuda' and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f'device {device!r}: this machine has {torch.cuda.device_count()} GPUs that PyTorch '
            'can use; choose "cpu"'
        )
    return place


def load_clip(model: nn.Module, video: Video, steps: Steps | None = None) -> dict[str, Any]:
    """Run the pipeline on a video.

    Args:
        model: As `init_recognizer` returns it.
        video: See `mmaction.datasets.video_source.Video`.
        steps: Configs of transforms; the config's test pipeline if None.

    Returns:
        dict(inputs=uint8 tensor (views, C, T, H, W), data_samples=ActionDataSample).

    Raises:
        ValueError: The video cannot be read or does not fit the pipeline.
    """
    kind, info = clip_info(video)
    chosen = steps_for(pipeline_steps(model.cfg) if steps is None else steps, kind)
    return _run(Pipeline([TRANSFORMS.build(step) for step in chosen]), info, video)


def _run(pipeline: Callable[[Any], Any], info: dict[str, Any], video: Video) -> dict[str, Any]:
    try:
        clip: dict[str, Any] = pipeline(info)
        return clip
    except UnreadableVideoError as error:
        raise ValueError(str(error)) from error
    except (KeyError, IndexError) as error:
        raise ValueError(
            f'{clip_name(video)}: the pipeline fails on it ({type(error).__name__}: {error}, '
            f'in {raised_in(error)})'
        ) from error


def inference_recognizer(
    model: nn.Module,
    video: Video,
    test_pipeline: Callable[[Any], Any] | Steps | None = None,
) -> ActionDataSample:
    """Classify one video by all views of the test pipeline.

    Args:
        model: As `init_recognizer` returns it.
        video: A file, a folder of frames `img_00001.jpg, ...`, the frames as uint8 RGB (an array
            or tensor (T, H, W, 3), or a list of arrays (H, W, 3) or PIL images), or the dict that
            a pipeline starts from.
        test_pipeline: A pipeline in the place of the config's: the configs of its
            transforms, or the pipeline itself.

    Returns:
        A sample with `pred_score` (num_classes,) and `pred_label` (1,).

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: The video cannot be read.
        TypeError: The input is of none of these types.
    """
    if callable(test_pipeline):
        clip = _run(test_pipeline, clip_info(video)[1], video)
    else:
        clip = load_clip(model, video, test_pipeline)
    return predict(model, [clip])[0]


def predict(model: nn.Module, clips: Sequence[Mapping[str, object]]) -> list[ActionDataSample]:
    """Predictions, on the CPU, of clips as `load_clip` gives them, in one batch.

    Raises:
        DivergedError: The scores are not finite.
    """
    batch = dict(
        inputs=[clip['inputs'] for clip in clips],
        data_samples=[clip['data_samples'] for clip in clips],
    )
    step: Any = model.test_step
    with torch.no_grad():
        samples: list[ActionDataSample] = [sample.cpu() for sample in step(batch)]
    scores = [sample.pred_score for sample in samples if 'pred_score' in sample]
    if not all(score.isfinite().all() for score in scores):
        raise DivergedError(
            'the scores of the model are not finite (nan or inf): the run that made its '
            'checkpoint has diverged; take an earlier one'
        )
    return samples


def top_classes(
    sample: ActionDataSample, names: Sequence[str] | None = None, k: int = 5
) -> list[tuple[str, float]]:
    """The k best classes of a prediction and their scores, the best first.

    Without names a class is called by its number.
    """
    scores = sample.pred_score
    if scores.ndim == 2:  # average_clips=None keeps the views apart
        scores = scores.softmax(-1).mean(0)
    best = scores.argsort(descending=True, stable=True)[:k].tolist()
    return [(names[i] if names else str(i), float(scores[i])) for i in best]
