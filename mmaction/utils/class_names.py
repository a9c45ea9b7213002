"""Names of the classes that a model tells apart.

Lists of public data sets are in `class_lists/`, line i naming label i. Which of them a
model was trained on follows from the data set of its checkpoint or config, never from the
number of classes: two data sets may have equally many.
"""

from __future__ import annotations

import ast
import logging
import os.path as osp
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from .remote import exists, read_bytes

__all__ = [
    'class_names_beside',
    'class_names_of',
    'find_class_names',
    'find_data_set',
    'known_class_names',
    'read_class_names',
]

_LISTS = Path(__file__).with_name('class_lists')

# How paths and config names write each data set.
_SPELLINGS = {
    'activitynet': 'activity[-_]?net',
    'diving48': 'diving[-_]?48',
    'hmdb51': 'hmdb[-_]?51',
    'jester': '(?:20bn[-_])?jester(?:[-_]?v1)?',
    'k400': 'k(?:inetics)?[-_]?400',
    'k600': 'k(?:inetics)?[-_]?600',
    'k700': 'k(?:inetics)?[-_]?700',
    'k710': 'k(?:inetics)?[-_]?710',
    'mit': 'mit|moments[-_]in[-_]time',
    'mmit': 'mmit|multi[-_]moments[-_]in[-_]time',
    'motion_digits': 'motion[-_]?digits',
    'sthv1': '(?:sth|ss|something(?:[-_]something)?)[-_]?v1',
    'sthv2': '(?:sth|ss|something(?:[-_]something)?)[-_]?v2',
    'ucf101': 'ucf[-_]?101',
}
_NAMED = re.compile(
    '(?<![a-z0-9])(?:'
    + '|'.join(f'(?P<{name}>{spelling})' for name, spelling in _SPELLINGS.items())
    + ')(?=dataset|[^a-z0-9]|$)'
)


def read_class_names(path: str | Path, num_classes: int | None = None) -> list[str]:
    """Names of classes, one a line.

    Args:
        path: Text file, UTF-8.
        num_classes: The number of lines that it must have; any if None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is blank, or there are not `num_classes` of them.
    """
    if not exists(path) or Path(path).is_dir():
        raise FileNotFoundError(f'there is no label file {path}')
    text = read_bytes(path, fresh=True).decode('utf-8-sig', errors='surrogateescape')
    names = [line.strip() for line in text.rstrip().split('\n')]
    if '' in names:
        raise ValueError(f'{path}:{names.index("") + 1}: expected a class name, found a blank line')
    if num_classes not in (None, len(names)):
        raise ValueError(f'{path} names {len(names)} classes, but the model has {num_classes}')
    return names


def class_names_beside(ann_file: str) -> list[str] | None:
    """Names in `classes.txt` beside an annotation list; None without the file.

    Raises:
        ValueError: The file is empty or a line in it is blank.
    """
    if not ann_file:
        return None
    try:
        return read_class_names(osp.join(osp.dirname(ann_file), 'classes.txt'))
    except FileNotFoundError:
        return None


def known_class_names(data_set: str) -> list[str]:
    """Names of a public data set, in the order that mmaction2's lists and checkpoints use.

    Args:
        data_set: A list of `class_lists/`: 'k400', 'sthv2', 'motion_digits', ...
    """
    return read_class_names(_LISTS / f'{data_set}.txt')


def find_data_set(text: str) -> str | None:
    """The data set that a path, class or config name mentions last, such as 'k400'."""
    found = list(_NAMED.finditer(text.lower()))
    return found[-1].lastgroup if found else None


def class_names_of(
    source: Any, label_file: str | Path | None = None, num_classes: int | None = None
) -> list[str]:
    """Names for all classes of a model; class numbers where nothing names them.

    Args:
        source: A recognizer as `init_recognizer` returns it, or a config.
        label_file: Names, one a line, that come before any others.
        num_classes: Number of classes; that of the model's head if None.

    Raises:
        FileNotFoundError: There is no such label file.
        ValueError: It has another number of lines than there are classes, or the model has no
            head that tells their number.
    """
    head = getattr(source, 'cls_head', None)
    count = getattr(head, 'num_classes', None) if num_classes is None else num_classes
    if count is None:
        raise ValueError(
            f'a {type(source).__name__} has no cls_head.num_classes, the number of the classes '
            'that are named here; inference_recognizer of mmaction.apis needs none'
        )
    if label_file is not None:
        return read_class_names(label_file, count)
    meta = getattr(source, 'dataset_meta', None)
    found = meta.get('classes') if meta is not None else find_class_names(source, count)
    return list(found or map(str, range(count)))


def find_class_names(
    cfg: Mapping[str, Any] | Config, num_classes: int, meta: Mapping[str, Any] | None = None
) -> list[str] | None:
    """Names of the classes that a checkpoint and its config are about.

    Looked up in this order: names in the checkpoint, the data set of the checkpoint's own
    config, names in the config, `classes.txt` beside its list, its data set, its file name.
    A list of another length than `num_classes` is passed over, which is logged where no
    other fits.

    Args:
        cfg: The config of the model.
        num_classes: Number of classes of its head.
        meta: `meta` of the checkpoint: of this project, of mmaction2 1.x (`cfg`,
            `dataset_meta`) or 0.x (`config`, `CLASSES`).

    Returns:
        `num_classes` names, or None.
    """
    passed_over = []
    for origin, names in (*_names_of_checkpoint(meta or {}), *_names_of_config(cfg)):
        if len(names) == num_classes:
            return names
        passed_over.append(f'{origin} has names of {len(names)} classes')
    if passed_over:
        print_log(
            f'{passed_over[0]}, but the model has {num_classes}: classes are shown by number; a '
            'label file with a name a line gives them names',
            'current',
            logging.WARNING,
        )
    return None


def _names_of_checkpoint(meta: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for facts in (meta.get('dataset_meta') or {}, meta):
        names = facts.get('classes') or facts.get('CLASSES')
        if names:
            yield 'the checkpoint', list(map(str, names))
    own = meta.get('cfg') or meta.get('config')
    if isinstance(own, str):
        own = _literal_values(own)
    if isinstance(own, (Mapping, Config)):
        data_set = next(_data_sets(own), None)
        if data_set is not None:
            yield f'the checkpoint (data set {data_set})', known_class_names(data_set)


def _names_of_config(cfg: Mapping[str, Any] | Config) -> Iterator[tuple[str, list[str]]]:
    if isinstance(cfg.get('classes'), (list, tuple)):  # of a published model
        yield 'the config', list(map(str, cfg['classes']))
    for dataset in _datasets(cfg):
        meta = dataset.get('metainfo') or {}
        names = meta.get('classes') or meta.get('CLASSES')
        if not names and isinstance(dataset.get('ann_file'), str):
            names = class_names_beside(
                osp.join(dataset.get('data_root') or '', dataset['ann_file'])
            )
        if names:
            yield 'the config', list(map(str, names))
    found = list(_data_sets(cfg))
    by_name = find_data_set(Path(getattr(cfg, 'filename', None) or '').stem)
    for data_set in [*found[:1], *([by_name] if by_name else [])]:
        yield f'the config (data set {data_set})', known_class_names(data_set)


def _datasets(cfg: Mapping[str, Any] | Config) -> Iterator[Mapping[str, Any]]:
    """Configs of the datasets of 1.x loaders and of 0.x `data`, those of tests first."""
    for split in ('test', 'val', 'train'):
        for holder, key in ((f'{split}_dataloader', 'dataset'), ('data', split)):
            found = cfg.get(holder)
            yield from _unwrapped(found.get(key) if isinstance(found, Mapping) else None)


def _unwrapped(dataset: object) -> Iterator[Mapping[str, Any]]:
    """A dataset, or those within a wrapper such as RepeatDataset or ConcatDataset."""
    if isinstance(dataset, (list, tuple)):
        for each in dataset:
            yield from _unwrapped(each)
    elif isinstance(dataset, Mapping):
        yield dataset
        yield from _unwrapped(dataset.get('dataset') or dataset.get('datasets'))


def _data_sets(cfg: Mapping[str, Any] | Config) -> Iterator[str]:
    """The data sets that paths and types in the datasets of a config mention, in order."""
    for dataset in _datasets(cfg):
        prefix = dataset.get('data_prefix')
        prefixes = list(prefix.values()) if isinstance(prefix, Mapping) else [prefix]
        places = [dataset.get('ann_file'), dataset.get('data_root'), *prefixes, dataset.get('type')]
        for place in places:
            found = find_data_set(place) if isinstance(place, str) else None
            if found is not None:
                yield found


def _literal_values(text: str) -> dict[str, Any]:
    """Values that the text of a config assigns, read without running it.

    What is neither a literal, `dict(...)` nor a name assigned before becomes None.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    values: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values[statement.targets[0].id] = _literal(statement.value, values)
    return values


def _literal(node: ast.expr | None, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values.get(node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item, values) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {
            _literal(key, values): _literal(value, values)
            for key, value in zip(node.keys, node.values, strict=True)
        }
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {
            keyword.arg: _literal(keyword.value, values)
            for keyword in node.keywords
            if keyword.arg is not None
        }
    return None
