"""Features of clips from a frozen recognizer: of one video, or of a whole list into a folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info, is_main_process
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from mmaction.apis.inference import init_recognizer
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.data_preparation.share_records import Record, write_record
from mmaction.datasets import FeatureStore, clip_identity, reading_report
from mmaction.errors import ConfigError
from mmaction.models import FeatureHead
from mmaction.models.lora import weights_digest
from mmaction.registry import DATASETS
from mmaction.utils.isolated_call import start_plain_worker
from mmaction.utils.remote import is_remote
from mmaction.utils.work_share import WorkShare

__all__ = [
    'KINDS',
    'clip_features',
    'extract_features',
    'giving_tokens',
    'listed_dataset',
    'split_dataset',
]

KINDS = ('pooled', 'tokens')
SHARD = 512  # clips


@contextmanager
def giving_tokens(model: Any, kind: str) -> Iterator[None]:
    """Have a backbone that can give either hand out its tokens, within a block."""
    if kind not in KINDS:
        raise ValueError(f'features are {" or ".join(KINDS)}, not {kind!r}')
    before = getattr(model.backbone, 'output', None)
    if kind == 'tokens' and before is not None:
        model.backbone.output = 'map'
    try:
        yield
    finally:
        if before is not None:
            model.backbone.output = before


@torch.no_grad()
def clip_features(model: Any, clips: Sequence[dict[str, Any]], kind: str = 'pooled') -> Tensor:
    """Features of the backbone for clips as a pipeline packs them, in fp32 on the CPU.

    Args:
        model: A recognizer in evaluation mode.
        clips: N dicts with `inputs` and `data_samples`.
        kind: 'pooled' gives (N, C), the mean over the map and all views; 'tokens' the map of a
            single view, (N, C, T, H, W).

    Raises:
        ValueError: An unknown kind, tokens of several views, or of a backbone without a map.
    """
    batch = model.data_preprocessor(
        dict(
            inputs=[clip['inputs'] for clip in clips],
            data_samples=[clip['data_samples'] for clip in clips],
        )
    )
    with giving_tokens(model, kind):
        x, more = model.extract_feat(batch['inputs'], stage='backbone', test_mode=True)
    if kind == 'pooled':
        pooled = FeatureHead()(x, num_segs=more.get('num_segs'))
        views: Tensor = pooled.unflatten(0, (len(clips), -1)).flatten(2)
        return views.mean(1).float().cpu()
    if isinstance(x, Tensor) and x.ndim == 4 and 'num_segs' in more:  # of frames
        x = x.unflatten(0, (-1, more['num_segs'])).transpose(1, 2)
    if not isinstance(x, Tensor) or x.ndim != 5:
        raise ValueError(f'tokens: {type(model.backbone).__name__} gives no map of a clip')
    if len(x) != len(clips):
        raise ValueError(
            f'tokens: the pipeline gives {len(x) // len(clips)} views of a video; they are of one'
        )
    return x.float().cpu()


def listed_dataset(cfg: Config, split: str) -> dict[str, Any]:
    """The config of the dataset of a split that reads a list of clips.

    Raises:
        ConfigError: The config has no such split, or its dataset reads no list.
    """
    loader = cfg.get(f'{split}_dataloader')
    found = loader.get('dataset') if loader else None
    while isinstance(found, dict) and 'dataset' in found:  # a wrapper that repeats clips
        found = found['dataset']
    if not isinstance(found, dict) or 'ann_file' not in found:
        raise ConfigError(f'config key {split}_dataloader.dataset: there is no list of clips')
    return found


def split_dataset(cfg: Config, split: str, all_views: bool, ann_file: str | None = None) -> Any:
    """The dataset of a split, by the test pipeline: without augmentation, in the order of its list.

    Raises:
        ConfigError: See `listed_dataset`.
    """
    dataset = copy.deepcopy(listed_dataset(cfg, split))
    frames = 'Rawframe' in str(dataset['type'])
    dataset['pipeline'] = steps_for(
        pipeline_steps(cfg), 'rawframes' if frames else 'video', one_view=not all_views
    )
    dataset['test_mode'] = True
    if ann_file is not None:
        remote = is_remote(ann_file)
        dataset['ann_file'] = ann_file if remote else str(Path(ann_file).absolute())
    return DATASETS.build(dataset)


def extract_features(
    cfg: Config,
    checkpoint: str | Path | None,
    folder: str | Path,
    *,
    split: str = 'test',
    kind: str = 'pooled',
    ann_file: str | None = None,
    all_views: bool = False,
    half: bool = False,
    batch_size: int | None = None,
    device: str | None = None,
    model: nn.Module | None = None,
    share: WorkShare = WorkShare(),  # noqa: B008
) -> dict[str, Any]:
    """Write the features of a list of clips to a folder; what is there already is kept.

    Ranks of a process group share the clips. Clips that cannot be read have no features and are
    listed in the index.

    Args:
        cfg: Config of a recognizer; `load_config` gives it.
        checkpoint: Its weights; without, random ones, or those of a model of transformers.
        folder: Where to write, here or elsewhere (`mmaction.datasets.feature_store` says what).
        split: 'train', 'val' or 'test': whose dataset.
        kind: 'pooled' or 'tokens', as in `clip_features`.
        ann_file: Another list for this dataset.
        all_views: Take all views of the test pipeline, not the middle clip's center crop.
        half: Store float16.
        batch_size: Clips at a time; that of the test dataloader if None.
        device: As in `init_recognizer`.
        model: The recognizer, where it is built already.
        share: Which of the clips; `mmaction merge` writes the index of all shares.

    Returns:
        dict(clips=, computed=, kept=, missing=[names]) of the share; `computed` counts those of
        this rank.

    Raises:
        ConfigError: The folder holds other features; see also `split_dataset`.
    """
    if kind not in KINDS:
        raise ConfigError(f'features are {" or ".join(KINDS)}, not {kind!r}')
    if model is None:
        model = init_recognizer(cfg, checkpoint, device)
    dataset = split_dataset(cfg, split, all_views, ann_file)
    dataset.full_init()
    store = _open_store(folder, _facts(cfg, model, kind, half, all_views))
    there = store.rows()
    # By the place in the list: what others have done meanwhile does not move the shares.
    infos = {index: dataset.get_data_info(index) for index in share.of(range(len(dataset)))}
    clips = {index: _clip(info) for index, info in infos.items()}
    rank, ranks = get_dist_info()
    of_rank = WorkShare(rank, ranks).of(list(clips))
    mine = [index for index in of_rank if clips[index] not in there]
    loader_cfg = cfg.get('test_dataloader') or {}
    loader = DataLoader(
        Subset(dataset, mine),
        batch_size or loader_cfg.get('batch_size', 1),
        num_workers=loader_cfg.get('num_workers', 0),
        collate_fn=list,
        worker_init_fn=start_plain_worker,
    )
    shown = tqdm(loader, desc='features', disable=not is_main_process() or not mine)
    _write(model, shown, mine, clips, store, kind, half)
    barrier()
    missing: list[str] = []
    if is_main_process():
        labels = [_label(info) for info in infos.values()]
        missing = _finish(store, share, list(clips.values()), labels, dataset)
    barrier()
    kept = sum(clip in there for clip in clips.values())
    return dict(clips=len(clips), computed=len(mine), kept=kept, missing=missing)


def _finish(
    store: FeatureStore,
    share: WorkShare,
    clips: Sequence[tuple[str, str]],
    labels: Sequence[Any],
    dataset: Any,
) -> list[str]:
    """Write the index, or the record of a share; names of clips without features."""
    classes = dataset.metainfo.get('classes')
    if share.is_all:
        return store.finish(clips, labels, classes)
    missing = store.missing(clips, store.rows())
    store.write_list(share.label, clips, labels, classes)
    total = len(dataset)
    items = [str(index) for index in share.of(range(total))]
    failures = dict.fromkeys(missing, 'it cannot be read')
    write_record(store.folder, Record('features', share, total, items, failures))
    return missing


def _open_store(folder: str | Path, facts: dict[str, Any]) -> FeatureStore:
    """The store, made by the first rank."""
    if is_main_process():
        FeatureStore(folder, facts).reopen()
    barrier()
    return FeatureStore(folder, facts)


def _facts(cfg: Config, model: Any, kind: str, half: bool, all_views: bool) -> dict[str, Any]:
    """What features depend on beside the clip."""
    steps = steps_for(pipeline_steps(cfg), 'video', one_view=not all_views)
    preprocessor = dict(cfg.model.get('data_preprocessor') or {})
    return dict(
        weights=weights_digest(model.backbone.state_dict()),
        backbone=str(cfg.model.backbone.get('type')),
        pipeline=str([dict(step) for step in steps]),
        preprocessor=str(preprocessor),
        kind=kind,
        dtype='float16' if half else 'float32',
    )


def _clip(info: dict[str, Any]) -> tuple[str, str]:
    """Name and identity of a clip: of its file, and of the part of it that is meant."""
    path = str(info.get('filename') or info.get('frame_dir'))
    part = {k: v for k, v in info.items() if k not in _NO_PART}
    # The place in a shard tells a packed clip from others, whose names are no files.
    identity = 'packed' if 'shard' in info else clip_identity(path)
    return path, f'{identity}-{part}' if part and identity else identity


_NO_PART = ('filename', 'frame_dir', 'label', 'sample_idx', 'modality', 'start_index')


def _label(info: dict[str, Any]) -> Any:
    label = info['label']
    return label.tolist() if isinstance(label, Tensor) else int(label)


def _write(
    model: nn.Module,
    batches: Any,
    mine: Sequence[int],
    clips: Mapping[int, tuple[str, str]],
    store: FeatureStore,
    kind: str,
    half: bool,
) -> None:
    """Write the features of batches in shards."""
    position = 0
    names: list[tuple[str, str]] = []
    rows: list[Tensor] = []
    for items in batches:
        unreadable = reading_report(items).unreadable_clips
        features = clip_features(model, items, kind)
        for row in features:
            index = mine[position]
            position += 1
            if index in unreadable:
                continue
            names.append(clips[index])
            rows.append(row.half() if half else row)
        if len(names) >= SHARD:
            store.write(names, torch.stack(rows))
            names, rows = [], []
    if names:
        store.write(names, torch.stack(rows))
