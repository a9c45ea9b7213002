"""Probing a frozen recognizer: features of two splits, a grid of heads, the best one written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmaction.apis.features import extract_features, listed_dataset
from mmaction.apis.inference import init_recognizer
from mmaction.config.source import config_source
from mmaction.datasets import load_features
from mmaction.engine.probe import ProbeResult, check_probe, train_probe
from mmaction.engine.runner.checkpoint import plain, save_checkpoint_file
from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from mmaction.utils.io import write_json, write_text

__all__ = ['probe_recognizer', 'probe_stored']


def probe_stored(
    probe: Mapping[str, Any], train: str | Path, val: str | Path
) -> tuple[ProbeResult, dict[str, Any]]:
    """Train a probe on features that are stored already.

    Args:
        probe: Settings (`mmaction.engine.probe.check_probe`).
        train: Folder of the features of training.
        val: Folder of those of validation.

    Returns:
        The result, and dict(num_classes=, channels=, clips=(training, validation), classes=).

    Raises:
        ConfigError: The folders are of other weights, or other kinds of features.
    """
    settings = check_probe(probe)
    x, y, about = load_features(train)
    val_x, val_y, val_about = load_features(val)
    other = [k for k in about['facts'] if about['facts'][k] != val_about['facts'].get(k)]
    if other:
        raise ConfigError(f'{train} and {val} hold features of another {", ".join(other)}')
    classes = about['classes'] or val_about['classes']
    count = len(classes) if classes else int(max(y.max(), val_y.max())) + 1
    result = train_probe(settings, (x, y), (val_x, val_y), count)
    facts = dict(
        num_classes=count, channels=x.shape[1], clips=(len(x), len(val_x)), classes=classes
    )
    return result, facts


def probe_recognizer(
    cfg: Config,
    checkpoint: str | Path | None,
    probe: Mapping[str, Any],
    out: str | Path,
    *,
    device: str | None = None,
    half: bool = False,
) -> ProbeResult:
    """Probe the backbone of a recognizer, and write it with the best head as a checkpoint.

    `out` gets the features of both splits (kept for the next probe of the same weights),
    `KIND.json` with every point of the grid, and `KIND.py` and `KIND.pth`, config and weights
    that `tools/test.py` and the inferencers take.

    Args:
        cfg: Config of the recognizer, with the datasets of training and validation.
        checkpoint: Its weights; None for those of a model of transformers itself.
        probe: Settings (`mmaction.engine.probe.check_probe`).
        out: Folder.
        device: As in `init_recognizer`.
        half: Store features as float16.

    Raises:
        ConfigError: The probe or the config cannot be meant.
    """
    settings = check_probe(probe)
    kind, out = settings['kind'], Path(out)
    tokens = 'tokens' if kind == 'attentive' else 'pooled'
    for split in ('train', 'val'):
        listed_dataset(cfg, split)
    model = init_recognizer(cfg, checkpoint, device)
    folders = {split: out / f'features_{tokens}_{split}' for split in ('train', 'val')}
    for split, folder in folders.items():
        extract_features(cfg, checkpoint, folder, split=split, kind=tokens, half=half, model=model)
    result, facts = probe_stored(settings, folders['train'], folders['val'])
    probed = _with_head(cfg, kind, result, facts)
    report = dict(
        kind=kind,
        backbone=str(cfg.model.backbone.type),
        checkpoint=None if checkpoint is None else str(checkpoint),
        train_clips=facts['clips'][0],
        val_clips=facts['clips'][1],
        best=result.points[0],
        grid=result.points,
    )
    weights = _weights(model, probed, result.head)
    meta = dict(dataset_meta=dict(classes=facts['classes'] or None), probe=report)
    save_checkpoint_file(plain(dict(state_dict=weights, meta=meta)), out / f'{kind}.pth')
    write_text(out / f'{kind}.py', config_source(probed.to_dict()))
    write_json(out / f'{kind}.json', report)
    return result


def _with_head(cfg: Config, kind: str, result: ProbeResult, facts: Mapping[str, Any]) -> Config:
    """The config with the head of a probe."""
    probed = copy.deepcopy(cfg)
    # Not that of the recognizer, whose results lie there.
    probed.work_dir = '{{ fileDirname }}/{{ fileBasenameNoExtension }}'
    head: dict[str, Any] = dict(
        num_classes=facts['num_classes'], in_channels=facts['channels'], average_clips='prob'
    )
    types = dict(linear='LinearHead', knn='KNNHead', attentive='AttentiveHead')
    head.update(type=types[kind], **result.options)
    probed.model.pop('neck', None)
    probed.model.cls_head = head
    (probed.model.get('test_cfg') or {}).pop('average_clips', None)
    if kind == 'attentive' and str(cfg.model.backbone.type).startswith('transformers.'):
        probed.model.backbone['output'] = 'map'
    return probed


def _weights(model: Any, probed: Config, head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the recognizer with the head."""
    weights = {k: v for k, v in model.state_dict().items() if k.startswith(('backbone.', 'lora_'))}
    built = MODELS.build({**probed.model.cls_head})
    built.load_state_dict(dict(head))
    weights.update({f'cls_head.{name}': value for name, value in built.state_dict().items()})
    return {name: torch.as_tensor(value).cpu() for name, value in weights.items()}
