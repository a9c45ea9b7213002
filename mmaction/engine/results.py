"""Metrics and scores of a test, as they are printed and written."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmaction.errors import ConfigError

__all__ = ['check_out_file', 'published_names', 'write_scores']

FORMATS = ('.pkl', '.pickle', '.json', '.yaml', '.yml')


def published_names(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics under the names that mmaction2 0.x prints.

    `acc/top1` is `top1_acc`, `acc/mean1` is `mean_class_accuracy`; the rest
    loses its prefix. What is not a number is left out.
    """
    named = {}
    for key, value in metrics.items():
        name = key.rsplit('/', 1)[-1]
        if re.fullmatch(r'top\d+', name):
            name += '_acc'
        elif name == 'mean1':
            name = 'mean_class_accuracy'
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            named[name] = float(value)
    return named


def check_out_file(path: str | None) -> None:
    """Raise `ConfigError` unless scores can be written in the format of the name."""
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise ConfigError(f'--out {path}: the name has to end in .pkl, .json or .yaml')


def write_scores(scores: list[Any], path: str | Path) -> None:
    """Write the score of each clip, in the order of the list.

    Args:
        scores: Arrays of (num_classes,), or (views, num_classes) where views
            are not averaged.
        path: `.pkl` keeps arrays, `.json` and `.yaml` get lists of numbers.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    if kind in ('.pkl', '.pickle'):
        path.write_bytes(pickle.dumps(scores))
        return
    plain = [np.asarray(score).tolist() for score in scores]
    with path.open('w', encoding='utf-8') as file:
        if kind == '.json':
            json.dump(plain, file)
        else:
            yaml.safe_dump(plain, file, default_flow_style=None)
