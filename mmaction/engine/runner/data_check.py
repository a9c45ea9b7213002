"""Checks of lists, labels and files before any worker reads a clip."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmaction.datasets.shard_dataset import ShardDataset
from mmaction.datasets.transforms import RawFrameDecode
from mmaction.distributed.collectives import broadcast_object
from mmaction.errors import ConfigError
from mmaction.utils.model_wrapper import bare_model
from mmaction.utils.remote import file_size, redacted

__all__ = ['SplitFacts', 'check_splits', 'label_flips', 'missing_paths', 'splits_of']


@dataclass(frozen=True)
class SplitFacts:
    """What a split holds.

    Attributes:
        clips: Clips, counting what repeats.
        classes: Distinct labels.
        lowest: Smallest label; None where clips have none.
        highest: Largest label.
        unlabeled: No clip has a label.
    """

    clips: int
    classes: int = 0
    lowest: int | None = None
    highest: int | None = None
    unlabeled: bool = False


def splits_of(runner: Runner) -> dict[str, SplitFacts]:
    """Facts of the splits whose loops are built, checked on first use.

    They are kept as `runner.split_facts`; mmengine's own runner has no other place where
    they would be checked.

    Raises:
        ConfigError: See `check_splits`.
    """
    loops: dict[str, Any] = dict(
        train=runner._train_loop, val=runner._val_loop, test=runner._test_loop
    )
    datasets = {
        name: loop.dataloader.dataset for name, loop in loops.items() if isinstance(loop, BaseLoop)
    }
    holder: Any = runner
    if set(datasets) - set(getattr(runner, 'split_facts', {})):
        head = getattr(bare_model(runner.model), 'cls_head', None)
        holder.split_facts = check_splits(datasets, getattr(head, 'num_classes', None))
    facts: dict[str, SplitFacts] = holder.split_facts
    return facts


def check_splits(datasets: Mapping[str, Any], num_classes: int | None) -> dict[str, SplitFacts]:
    """Check datasets before any worker reads a clip of them.

    Rank 0 looks, all hear of it.

    Args:
        datasets: By the name of the split: 'train', 'val', 'test'.
        num_classes: Classes of the model's head, if it says.

    Raises:
        ConfigError: A label is outside the head's classes or missing where one is needed, or
            clips are missing.
    """
    problem: str | None = None
    facts: dict[str, SplitFacts] = {}
    if is_main_process():
        try:
            for name, data in datasets.items():
                inspect = _inspect_shards if isinstance(data, ShardDataset) else _inspect
                facts[name] = inspect(name, data, num_classes)
        except ConfigError as error:
            problem = str(error)
    problem, facts = broadcast_object((problem, facts))
    if problem:
        raise ConfigError(problem)
    return facts


def _inspect(split: str, dataset: Any, num_classes: int | None) -> SplitFacts:
    if not len(dataset):
        raise ConfigError(f'the {split} list {_list_of(dataset)} holds no clips')
    if not hasattr(dataset, 'get_data_info'):
        return SplitFacts(len(dataset))
    _check_flips(split, dataset, num_classes)
    labels: set[int] = set()
    paths, unlabeled = [], None
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = info.get('filename', info.get('frame_dir'))
        # Shards within a wrapper: a clip is there if its shard is.
        file = info.get('shard', path)
        if file is not None:
            paths.append(str(file))
        if unlabeled is None and _has_no_label(info.get('label')):
            unlabeled = path
        for label in _labels(info.get('label')):
            if num_classes is not None and not 0 <= label < num_classes:
                raise ConfigError(
                    f'{split} list {_list_of(dataset)}: clip {path} has label {label}, but the '
                    f'head has num_classes={num_classes}, so labels are 0 to {num_classes - 1}. '
                    'Set model.cls_head.num_classes, or count labels from 0'
                )
            labels.add(label)
    if split != 'test' and (unlabeled is not None or not labels):
        form = getattr(_innermost(dataset), 'list_form', '')
        raise ConfigError(
            f'{split} list {_list_of(dataset)}: clip {unlabeled or "..."} has no label, which '
            f'{"training" if split == "train" else "validation"} needs'
            + (f'; a line is "{form}"' if form else '')
        )
    _check_paths(split, dataset, paths)
    _check_first_frames(split, dataset)
    if not labels:
        return SplitFacts(len(dataset), unlabeled=True)
    return SplitFacts(len(dataset), len(labels), min(labels), max(labels))


def _inspect_shards(split: str, dataset: ShardDataset, num_classes: int | None) -> SplitFacts:
    """Check shards, which may hold millions of clips, by their index alone."""
    if not len(dataset):
        raise ConfigError(f'the {split} shards {_list_of(dataset)} hold no clips')
    _check_flips(split, dataset, num_classes)
    unlabeled, labels = dataset.label_facts()
    if num_classes is not None and labels and labels[-1] >= num_classes:
        raise ConfigError(
            f'{split} shards {_list_of(dataset)}: label {labels[-1]} is there, but the head has '
            f'num_classes={num_classes}, so labels are 0 to {num_classes - 1}. Set '
            'model.cls_head.num_classes, or pack a list whose labels count from 0'
        )
    if split != 'test' and (unlabeled or not labels):
        raise ConfigError(
            f'{split} shards {_list_of(dataset)}: {unlabeled or "all"} clips have no label, which '
            f'{"training" if split == "train" else "validation"} needs'
        )
    _check_shards(split, dataset)
    if not labels:
        return SplitFacts(len(dataset), unlabeled=True)
    return SplitFacts(len(dataset), len(labels), labels[0], labels[-1])


def _check_shards(split: str, dataset: ShardDataset) -> None:
    index = dataset.index
    for path, size in zip(index.shards, index.shard_sizes, strict=True):
        try:
            found = file_size(path)
        except FileNotFoundError:
            raise ConfigError(
                f'{split} shards {_list_of(dataset)}: {redacted(path)} does not exist: the shards '
                'belong beside their index'
            ) from None
        if None not in (size, found) and size != found:
            raise ConfigError(
                f'{split} shards {_list_of(dataset)}: {redacted(path)} has {found} bytes, but '
                f'{size} when {redacted(index.path)} was written, so its clips lie elsewhere: '
                'remove the index, and it is written again (or run "mmaction pack" again, if that '
                'wrote the shards)'
            )


def _labels(label: Any) -> Iterable[int]:
    """Labels of a clip: a number, a sequence, or a one-hot float vector; -1 alone is none."""
    if label is None:
        return []
    if isinstance(label, torch.Tensor) and label.is_floating_point():
        return label.nonzero().flatten().tolist()
    if isinstance(label, torch.Tensor):
        label = label.tolist()
    labels = list(label) if isinstance(label, (list, tuple)) else [int(label)]
    return [] if labels == [-1] else labels


def _has_no_label(label: object) -> bool:
    """No label at all; clips of several labels may have none of them."""
    vector = isinstance(label, torch.Tensor) and label.is_floating_point()
    several = vector or (isinstance(label, (list, tuple)) and list(label) != [-1])
    return not several and not list(_labels(label))


def _check_flips(split: str, dataset: object, num_classes: int | None) -> None:
    for flip in label_flips(dataset):
        outside = [label for label in flip.swaps or () if num_classes and label >= num_classes]
        named = len((getattr(_innermost(dataset), 'metainfo', None) or {}).get('classes') or ())
        if outside and named:  # `Flip` has seen that they name all that it swaps
            raise ConfigError(
                f'{split} list {_list_of(dataset)}: {named} classes are named for it, but the head '
                f'has num_classes={num_classes}. Set model.cls_head.num_classes'
            )
        if outside:
            raise ConfigError(
                f'{split} pipeline: flip_label_map of Flip swaps label {outside[0]}, but there are '
                f'{num_classes} classes: the map is of another dataset. Set flip_label_map to '
                'None, or to the classes that a mirrored clip changes'
            )


def label_flips(dataset: object) -> list[Any]:
    """The `Flip` transforms of a dataset, and of those that it wraps, that change labels."""
    parts = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    found = [step for step in transforms if getattr(step, 'flip_label_map', None)]
    return found + [flip for part in parts if part is not None for flip in label_flips(part)]


def _innermost(dataset: Any) -> Any:
    """The dataset that reads the list, out of its wrappers; the first of several."""
    while not hasattr(dataset, 'ann_file') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not hasattr(dataset, 'ann_file') and getattr(dataset, 'datasets', None):
        return _innermost(dataset.datasets[0])
    return dataset


def _list_of(dataset: object) -> str:
    dataset = _innermost(dataset)
    return str(getattr(dataset, 'ann_file', '') or type(dataset).__name__)


def _check_paths(split: str, dataset: object, paths: list[str]) -> None:
    missing = missing_paths(paths)
    if missing:
        shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        raise ConfigError(
            f'{split} list {_list_of(dataset)}: {len(missing)} of {len(paths)} clips do not '
            f'exist: {shown}. Set data_root and data_prefix to where the clips are, or take '
            'the lines out of the list'
        )


def _check_first_frames(split: str, dataset: Any) -> None:
    """Tell by the first clip that `start_index` is one off: of any a frame may be missing."""
    info = dataset.get_data_info(0)
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    is_read = any(isinstance(step, RawFrameDecode) for step in steps)
    if not is_read or not {'frame_dir', 'total_frames'} <= set(info) or info.get('offset'):
        return

    def name(number: int) -> str:
        args = ('x', number) if info.get('modality') == 'Flow' else (number,)
        return str(info['filename_tmpl'].format(*args))

    def are_there(*numbers: int) -> bool:
        return all((Path(info['frame_dir']) / name(number)).exists() for number in numbers)

    start, count = info.get('start_index', 0), info['total_frames']
    for other, absent in ((start + 1, start), (start - 1, start + count - 1)):
        if are_there(other, other + count - 1) and not are_there(absent):
            raise ConfigError(
                f'{split} list {_list_of(dataset)}: the frames of the first clip, '
                f'{info["frame_dir"]}, are {name(other)} to {name(other + count - 1)}: set '
                f'start_index={other} of the dataset, found {start}'
            )


def missing_paths(paths: Iterable[str]) -> list[str]:
    """The paths at which there is nothing; URLs are not checked.

    Each folder is listed once, which on a network file system is far quicker
    than asking for each file. A file name without an extension may mean `.mp4`.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if '://' not in path:
            by_folder[os.path.dirname(path.rstrip('/'))].append(path)
    missing = []
    for folder, members in by_folder.items():
        try:
            present = {path.name for path in Path(folder).iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            present = set()
        for path in members:
            name = os.path.basename(path.rstrip('/'))
            if name not in present and (os.path.splitext(name)[1] or name + '.mp4' not in present):
                missing.append(path)
    return missing
