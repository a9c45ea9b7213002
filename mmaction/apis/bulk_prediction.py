"""Predictions of any number of clips, by any number of processes, into Parquet files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.data_preparation.jobs import check_settings, find_videos
from mmaction.datasets import BaseActionDataset, ShardDataset, VideoDataset
from mmaction.datasets.video_source import VideoSource
from mmaction.errors import ConfigError, DivergedError
from mmaction.models.recognizers import BaseRecognizer
from mmaction.utils.io import file_digest, write_json
from mmaction.utils.isolated_call import start_plain_worker
from mmaction.utils.prediction_parts import parts_there, write_part
from mmaction.utils.remote import exists, is_remote, local_path
from mmaction.utils.work_share import WorkShare

from .inference import predict
from .sliding_window import classify_windows

__all__ = ['BulkRequest', 'predict_list']

SETTINGS = 'predict.json'


class BulkRequest(NamedTuple):
    """What to predict.

    Args:
        source: Annotation list of videos, folder of videos, or shards (`ShardDataset`).
        out: Folder of the parts, here or elsewhere.
        prefix: Folder of the videos of a list; that of the list if None.
        part_size: Clips of a part.
        batch_size: Clips that the model sees at once.
        workers: Processes that read clips.
        embeddings: Keep what the classifier sees of each clip, too.
        stride: For long videos: classify windows, so many lengths of a window apart.
        share: Which of the parts.
    """

    source: str
    out: str
    prefix: str | None = None
    part_size: int = 1000
    batch_size: int = 8
    workers: int = 2
    embeddings: bool = False
    stride: float | None = None
    share: WorkShare = WorkShare()


def predict_list(model: Any, request: BulkRequest, checkpoint: str) -> tuple[int, int, int]:
    """Predict the clips of the parts that are not there yet.

    Args:
        model: As `init_recognizer` returns it.
        request: What to predict.
        checkpoint: Where its weights come from: parts of others, or of another config, are not
            mixed with these.

    Returns:
        Clips predicted now, those of them that could not be read, and clips of the list.

    Raises:
        ValueError: The list is malformed, or the folder holds predictions of other clips, another
            checkpoint or another config.
        DivergedError: The scores are not finite.
    """
    if not is_remote(request.out):
        Path(request.out).mkdir(parents=True, exist_ok=True)
    dataset, identity = _dataset(model, request)
    settings = dict(
        clips=len(dataset),
        source=identity,
        part_size=request.part_size,
        checkpoint=file_digest(local_path(checkpoint)),
        config=_config_digest(model.cfg),
        embeddings=request.embeddings,
        stride=request.stride,
    )
    check_settings(os.path.join(request.out, SETTINGS), settings, overwrite=None)
    total = -(-len(dataset) // request.part_size)
    there = parts_there(request.out)
    parts = [part for part in request.share.of(range(total)) if part not in there]
    predicted = unreadable = 0
    rows_of = _rows_of_windows if request.stride is not None else _rows_of_clips
    for part, rows in rows_of(model, dataset, request, parts):
        write_part(request.out, part, rows)
        predicted += len({row['index'] for row in rows})
        unreadable += sum(row['unreadable'] is not None for row in rows)
    return predicted, unreadable, len(dataset)


def _config_digest(cfg: Any) -> str:
    """What tells the model and the test pipeline of a config from those of others."""
    parts = [cfg.model.to_dict(), pipeline_steps(cfg)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _dataset(model: Any, request: BulkRequest) -> tuple[BaseActionDataset, str]:
    """The clips, and what tells them from others."""
    source = request.source
    pipeline: list[Any] = steps_for(pipeline_steps(model.cfg), 'video')
    shards = source.endswith(('.npz', '.tar')) or exists(os.path.join(source, 'index.npz'))
    several = bool(getattr(model.cls_head, 'multi_class', False))
    classes = dict(multi_class=several, num_classes=model.cls_head.num_classes)
    if shards:
        packed = ShardDataset(source, pipeline, test_mode=True, **classes)
        return packed, packed.index.digest()
    prefix = os.path.dirname(source) if request.prefix is None else request.prefix
    if not is_remote(source) and Path(source).is_dir():
        prefix, source = source, _listed(request)
    videos = VideoDataset(source, pipeline, dict(video=prefix), test_mode=True, **classes)
    return videos, file_digest(local_path(source))


def _listed(request: BulkRequest) -> str:
    """A list of the videos of a folder, made once: the positions have to stay the same."""
    path = os.path.join(request.out, 'clips.json')
    if not exists(path):
        names = find_videos(Path(request.source))
        write_json(path, [dict(filename=name, label=-1) for name in names], indent=None)
    return path


Part = tuple[int, list[dict[str, Any]]]


def _positions(part: int, size: int, clips: int) -> range:
    return range(part * size, min((part + 1) * size, clips))


def _rows_of_clips(
    model: BaseRecognizer, dataset: BaseActionDataset, request: BulkRequest, parts: Sequence[int]
) -> Iterator[Part]:
    """The rows of each part; one loader reads for all of them, so its workers never wait."""
    from tqdm import tqdm

    spans = [_positions(part, request.part_size, len(dataset)) for part in parts]
    size = request.batch_size
    # A batch is of one part.
    batches = [list(span[at : at + size]) for span in spans for at in range(0, len(span), size)]
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=request.workers,
        collate_fn=list,
        worker_init_fn=start_plain_worker,
    )
    shown = tqdm(total=sum(map(len, spans)), desc='predict', unit='clip', mininterval=1)
    results = zip(batches, loader, strict=True)
    seen = _Embeddings(model.cls_head) if request.embeddings else None
    with shown:
        for part, span in zip(parts, spans, strict=True):
            rows: list[dict[str, Any]] = []
            while len(rows) < len(span):
                positions, batch = next(results)
                rows += _predict(model, dataset, positions, batch, seen)
                shown.update(len(positions))
            yield part, rows


def _predict(
    model: Any,
    dataset: BaseActionDataset,
    positions: Sequence[int],
    batch: Sequence[Mapping[str, object]],
    seen: _Embeddings | None,
) -> list[dict[str, Any]]:
    samples = predict(model, batch)
    rows = []
    for number, (position, sample) in enumerate(zip(positions, samples, strict=True)):
        row = _row(dataset, position, sample.get('unreadable'))
        if row['unreadable'] is None:
            scores = sample.pred_score
            if scores.ndim == 2:  # average_clips=None keeps the views apart
                scores = scores.softmax(-1).mean(0)
            row.update(scores=scores.numpy(), pred_label=int(scores.argmax()))
            if seen is not None:
                row.update(embedding=seen.of(number, len(samples)))
        rows.append(row)
    return rows


def _row(dataset: BaseActionDataset, position: int, unreadable: str | None) -> dict[str, Any]:
    labels = [label for label in dataset.get_cat_ids(position) if label >= 0]
    path = dataset.get_data_info(position)['filename']
    return dict(index=position, path=path, labels=labels, unreadable=unreadable)


class _Embeddings:
    """What the last linear layer of a head is given: the features that its scores are made of.

    Raises:
        ConfigError: The head has none.
    """

    def __init__(self, head: nn.Module) -> None:
        layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ConfigError(
                f'--embeddings: {type(head).__name__} has no linear layer whose input they are'
            )
        self._last = torch.empty(0)
        layers[-1].register_forward_pre_hook(self._note)

    def _note(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._last = inputs[0].detach().float().cpu()

    def of(self, number: int, clips: int) -> Any:
        """Of a clip of the last batch: (D,), the mean over its views."""
        return self._last.reshape(clips, -1, self._last.shape[-1])[number].mean(0).numpy()


def _rows_of_windows(
    model: BaseRecognizer, dataset: BaseActionDataset, request: BulkRequest, parts: Sequence[int]
) -> Iterator[Part]:
    """The rows of each part, one for each window of its videos."""
    assert request.stride is not None
    for part in parts:
        rows: list[dict[str, Any]] = []
        for position in _positions(part, request.part_size, len(dataset)):
            try:
                video = VideoSource(dataset.get_data_info(position)['filename'])
                windows = list(classify_windows(model, video, request.stride, request.batch_size))
            except DivergedError:  # of the model, not of the video
                raise
            except (ValueError, OSError) as error:
                rows.append(_row(dataset, position, str(error)))
                continue
            for window in windows:
                best = dict(scores=window.scores, pred_label=int(window.scores.argmax()))
                span = dict(start_frame=window.start, end_frame=window.stop)
                rows.append({**_row(dataset, position, None), **span, **best})
        yield part, rows
