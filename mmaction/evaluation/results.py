"""The files of a test's results, `--dump` and `--out`: written, and read without running them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.registry import DATASETS
from mmaction.utils.cli import brief
from mmaction.utils.io import write_bytes, write_json, write_text
from mmaction.utils.plain_pickle import PlainUnpickler, resolve
from mmaction.utils.prediction_parts import parts_there, read_parts
from mmaction.utils.remote import is_remote, open_file, read_bytes

__all__ = [
    'check_dump_file',
    'check_out_file',
    'labeled_results',
    'read_results',
    'write_predictions',
    'write_scores',
]

_PICKLE, _JSON, _YAML = ('.pkl', '.pickle'), ('.json',), ('.yaml', '.yml')
_FORMATS = (*_PICKLE, *_JSON, *_YAML)

Loaded = list[dict[str, Any]] | list[np.ndarray]


def check_out_file(path: str | None) -> None:
    """Raise `ConfigError` unless scores can be written in the format of the name."""
    if path is not None and Path(path).suffix.lower() not in _FORMATS:
        raise ConfigError(f'--out {path}: the name has to end in .pkl, .json or .yaml')


def write_scores(scores: list[Any], path: str | Path) -> None:
    """Write the score of each clip, in the order of the list.

    Args:
        scores: Arrays of (num_classes,), or (views, num_classes) where views
            are not averaged.
        path: `.pkl` keeps arrays, `.json` and `.yaml` get lists of numbers.
    """
    kind = Path(path).suffix.lower()
    if kind in _PICKLE:
        write_bytes(path, pickle.dumps(scores))
        return
    plain = [np.asarray(score).tolist() for score in scores]
    if kind in _JSON:
        write_json(path, plain, indent=None)
    else:
        write_text(path, yaml.safe_dump(plain, default_flow_style=None))


def check_dump_file(path: str | None) -> None:
    """Raise `ConfigError` unless predictions can be written in the format of the name."""
    if path is not None and Path(path).suffix.lower() not in (*_JSON, *_PICKLE):
        raise ConfigError(f'--dump {path}: the name has to end in .json or .pkl')


def write_predictions(samples: Sequence[dict[str, object]], path: str | Path) -> None:
    """Write a dict for each clip, as `--dump` does, which `read_results` reads.

    Args:
        samples: Predictions, labels and meta data.
        path: `.json`, or `.pkl` in the layout of mmaction2.
    """
    if Path(path).suffix.lower() in _JSON:
        write_json(path, [_plain(sample) for sample in samples], indent=None)
    else:
        write_bytes(path, pickle.dumps(list(samples)))


_TENSORS = ('pred_score', 'pred_label', 'gt_label')


def _plain(value: object) -> Any:
    """Tensors and arrays as lists; what JSON does not know as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _tensors(sample: dict[str, Any]) -> dict[str, Any]:
    """A dict of a .json file with its scores and labels as tensors again."""
    for name in _TENSORS:
        value = sample.get(name)
        if isinstance(value, dict):  # of several modalities or categories
            sample[name] = {key: torch.as_tensor(item) for key, item in value.items()}
        elif value is not None:
            sample[name] = torch.as_tensor(value)
    return sample


def read_results(path: str | Path) -> Loaded:
    """The predictions of a test.

    Args:
        path: A .json or .pkl of `--dump` (a dict for each clip with `pred_score`
            and `gt_label`), a .pkl, .json or .yaml of `--out` (scores of each clip), or a
            folder of Parquet files of "mmaction predict".

    Returns:
        One dict, or one array (num_classes,), for each clip, in the order of the list.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of these, or holds objects beside tensors and plain values.
    """
    if parts_there(os.fspath(path)):
        return read_parts(path)
    content = _content_of(path)
    if not isinstance(content, list) or not content:
        raise ValueError(f'{path} holds no list of results, as tools/test.py --dump writes it')
    if all(isinstance(item, dict) for item in content):
        lacking = next((i for i, item in enumerate(content) if 'gt_label' not in item), None)
        if lacking is not None:
            raise ValueError(f'{path}: clip {lacking} has no gt_label')
        return content
    scores: list[np.ndarray] = []
    for clip, item in enumerate(content):
        try:
            scores.append(np.asarray(item, dtype=float))
        except (TypeError, ValueError):
            raise ValueError(f'{path}: clip {clip} has no scores, but {brief(item)}') from None
        if scores[-1].ndim != 1 or len(scores[-1]) != len(scores[0]):
            classes = len(scores[0]) if clip else 'K'
            raise ValueError(
                f'{path}: clip {clip} has scores of shape {scores[-1].shape}, not ({classes},)'
            )
    return scores


def _content_of(path: str | Path) -> Any:
    if not is_remote(path) and not Path(path).is_file():
        raise FileNotFoundError(f'there is no file of results {path}')
    try:
        return _read_content(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # What a pickle that was made up brings its constructors to raise is of any type.
        reason = str(error).strip().split('\n')[0][:200] or type(error).__name__
        raise ValueError(f'{path} cannot be read as results of a test: {reason}') from None


def _read_content(path: str | Path) -> Any:
    kind = Path(path).suffix.lower()
    if kind not in _FORMATS:
        raise ValueError('the name has to end in .pkl, .json or .yaml')
    if kind in _PICKLE:
        with open_file(path) as file:
            return resolve(PlainUnpickler(file).load())
    text = read_bytes(path, fresh=True).decode('utf-8')
    if kind in _JSON:
        content = json.loads(text)
        is_dump = isinstance(content, list) and all(isinstance(item, dict) for item in content)
        return [_tensors(item) for item in content] if is_dump else content
    return yaml.safe_load(text)


def labeled_results(path: str | Path, cfg: Config) -> list[dict[str, Any]]:
    """Results of a test with their labels, as metrics take them.

    Args:
        path: As in `read_results`.
        cfg: The config of the test; where the file holds scores alone, the labels
            are those of its test list.

    Raises:
        ValueError: There are not as many scores as clips in the test list.
    """
    results = read_results(path)
    if isinstance(results[0], dict):
        return results
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if len(dataset) != len(results):
        raise ValueError(
            f'{path} has {len(results)} results, but the test list {dataset.ann_file} has '
            f'{len(dataset)} clips'
        )
    return [
        dict(
            pred_score=torch.as_tensor(scores),
            pred_label=torch.as_tensor(scores).argmax().reshape(1),
            gt_label=torch.as_tensor(dataset.get_data_info(i)['label']).reshape(-1),
            sample_idx=i,
        )
        for i, scores in enumerate(results)
    ]
