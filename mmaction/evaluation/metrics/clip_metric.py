"""One result per clip of the dataset, whatever the number of processes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric

from mmaction.errors import DivergedError

__all__ = ['ClipMetric', 'merge_results']

Result = dict[str, Any]


class ClipMetric(BaseMetric):
    """A metric that counts each clip of the dataset exactly once.

    Samplers repeat clips so that all processes get equally many. The results
    of all processes are brought into the order of the dataset by `sample_idx`
    and repetitions are dropped by it; a result that is missing, or that
    belongs to no clip, is an error. So any number of processes and any sampler
    give the metrics of a single process.

    A clip whose sample says why it is `unreadable` has no prediction. It is
    part of the results all the same, so that it counts as wrong, and is listed
    in `unreadable`.

    Subclasses say with `prediction` what they keep of a sample, and compute
    with `compute_metrics`, in every process, from results with the keys
    `pred` (None if unreadable), `label`, `sample_idx`, `filename` and
    `unreadable`.

    Args:
        collect_device: 'cpu' or 'gpu', as in mmengine; the results are the same.
        prefix: What stands before the names of the metrics, with a slash.

    Attributes:
        unreadable: File and reason of each clip that could not be read in the
            last evaluation.
    """

    results: list[Result]

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        if collect_device not in ('cpu', 'gpu'):
            raise ValueError(f"collect_device must be 'cpu' or 'gpu', not {collect_device!r}")
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.unreadable: list[tuple[str, str]] = []

    @abstractmethod
    def prediction(self, sample: Mapping[str, Any], name: str) -> Any:
        """What is kept of the prediction in a sample.

        Args:
            sample: Fields and meta data of an `ActionDataSample`.
            name: The clip's name, for errors.
        """

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, object]]) -> None:
        """Keep what is needed of a batch of predictions.

        Args:
            data_batch: Not used.
            data_samples: `ActionDataSample.to_dict()` of each clip.

        Raises:
            ValueError: A sample lacks its label or its prediction.
            DivergedError: A score is not finite.
        """
        for sample in data_samples:
            name = _name(sample)
            if 'gt_label' not in sample:
                raise ValueError(f'{name} has no gt_label: is the label packed by the pipeline?')
            reason = sample.get('unreadable')
            prediction = None if reason else self.prediction(sample, name)
            if not reason and not _are_finite(sample.get('pred_score'), prediction):
                raise DivergedError(
                    f'the scores of {name} are not numbers: the weights have diverged in training '
                    '(a lower learning rate, a longer warm-up or clip_grad may help), or the '
                    'checkpoint is damaged'
                )
            self.results.append(
                {
                    'pred': prediction,
                    'label': _label(sample['gt_label']),
                    'sample_idx': sample.get('sample_idx'),
                    'filename': name,
                    'unreadable': str(reason) if reason else None,
                }
            )

    def evaluate(self, size: int) -> dict[str, Any]:
        """Bring the results of all processes together and compute the metrics.

        Args:
            size: Number of clips of the dataset.

        Returns:
            The metrics, in every process; `unreadable` is the number of clips
            that could not be read, if there are any. Clips without labels (-1)
            have no metrics.

        Raises:
            ValueError: Clips are missing or unexpected, or do not fit the metric.
        """
        parts = all_gather_object(self.results)
        self.results = []
        results = merge_results(parts, size)
        self.unreadable = [
            (result['filename'], result['unreadable']) for result in results if result['unreadable']
        ]
        metrics = self._of_labeled(results)
        if self.unreadable:
            metrics['unreadable'] = len(self.unreadable)
        return self._prefixed(metrics)

    def try_clip(self, sample: Mapping[str, Any]) -> list[str] | None:
        """Names of the metrics there will be, by what is predicted of one clip; None if it is open.

        Raises:
            ValueError: The prediction or its label do not fit the metric.
        """
        if sample.get('unreadable'):
            return None
        self.process(None, [sample])
        results, self.results = self.results, []
        return list(self._prefixed(self._of_labeled(results))) or None

    def _of_labeled(self, results: list[Result]) -> dict[str, Any]:
        labeled = any(np.size(result['label']) > 1 or result['label'] != -1 for result in results)
        return dict(self.compute_metrics(results)) if labeled else {}

    def _prefixed(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return {f'{self.prefix}/{key}' if self.prefix else key: metrics[key] for key in metrics}


def merge_results(parts: Sequence[Sequence[Result]], size: int) -> list[Result]:
    """The results of all processes, each clip once and in the order of the dataset.

    Args:
        parts: The results of each process, with `sample_idx` and `filename`.
            Clips are told apart by both, because the datasets that
            `ConcatDataset` joins each count from 0.
        size: Number of clips of the dataset.

    Raises:
        ValueError: There are more or fewer clips than `size`, or an index is
            outside of it.
    """
    results = [result for part in parts for result in part]
    if not results or size < 1:
        raise ValueError(f'there is nothing to evaluate: {len(results)} results of {size} clips')
    without = sum(result['sample_idx'] is None for result in results)
    if without:
        # Without repetitions no index is needed.
        if without == len(results) == size:
            return results
        raise ValueError(
            f'{len(results)} results of {size} clips cannot be told apart, because {without} of '
            "them have no sample_idx: add 'sample_idx' to the meta_keys of PackActionInputs"
        )
    clips: dict[tuple[int, str], Result] = {}
    for result in results:
        clips.setdefault((int(result['sample_idx']), result['filename']), result)
    keys = sorted(clips)
    missing = size - len(keys)
    absent = sorted(set(range(size)) - {index for index, _ in keys}) if missing > 0 else []
    unexpected = [f'{index} ({name})' for index, name in keys if not 0 <= index < size]
    if missing or unexpected:
        raise ValueError(
            f'the dataset has {size} clips, but there are results of {len(keys)}: '
            f'{max(missing, 0)} missing{_such(absent)}, '
            f'{max(-missing, len(unexpected))} unexpected{_such(unexpected)}'
        )
    return [clips[key] for key in keys]


def one_view(scores: np.ndarray, name: str) -> np.ndarray:
    """Scores (K,) of (K,) or (1, K)."""
    if scores.ndim == 2 and len(scores) == 1:
        scores = scores[0]
    if scores.ndim != 1:
        raise ValueError(
            f'the scores of {name} have shape {scores.shape}, not (classes,): views are averaged '
            "with average_clips='prob' or 'score' in the head or in model.test_cfg"
        )
    return scores


def _are_finite(*values: object) -> bool:
    """Whether arrays, also those in dicts, hold numbers; what is no array counts as such."""
    parts = [p for x in values for p in (x.values() if isinstance(x, Mapping) else [x])]
    arrays = [
        to_array(part) for part in parts if isinstance(part, (np.ndarray, torch.Tensor, list))
    ]
    return all(bool(np.isfinite(a).all()) for a in arrays if a.dtype.kind == 'f')


def _such(items: Sequence[object]) -> str:
    shown = ', '.join(map(str, items[:3])) + (', ...' if len(items) > 3 else '')
    return f' (sample_idx {shown})' if items else ''


def _name(sample: Mapping[str, Any]) -> str:
    for key in ('filename', 'frame_dir', 'video_id'):
        if sample.get(key) is not None:
            return str(sample[key])
    return f'sample {sample.get("sample_idx", "without a name")}'


def _label(value: object) -> int | np.ndarray:
    """A class, or the vector of a clip with several."""
    array = to_array(value)
    return int(array.item()) if array.size == 1 else array


def to_array(value: object) -> np.ndarray:
    """An array of a tensor or of anything array-like; half precision becomes float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        array: np.ndarray = (
            value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        ).numpy()
        return array
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float16 else array
