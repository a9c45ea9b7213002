"""Predictions of many clips in a folder of Parquet files.

Part p holds the clips p * size to (p + 1) * size - 1 of a list. A part is there whole or not at
all, so a run that was killed goes on with the parts that are missing, on any number of machines,
and each clip is predicted once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmaction.utils.cli import printable
from mmaction.utils.io import atomic_path
from mmaction.utils.remote import is_remote, list_folder, open_file, redacted

__all__ = ['check_parts', 'parts_there', 'read_parts', 'write_part']

_NAME = re.compile(r'part-(\d{6,})\.parquet')
Row = Mapping[str, Any]


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f'Parquet files need pyarrow ({error}): pip install "dualformer[parquet]"'
        ) from None
    return pyarrow.parquet


def part_path(folder: str, number: int) -> str:
    """The file of a part."""
    return os.path.join(folder, f'part-{number:06}.parquet')


def parts_there(folder: str) -> set[int]:
    """Numbers of the parts that are done."""
    if not is_remote(folder) and not Path(folder).is_dir():
        return set()
    try:
        names = [path.rpartition('/')[2] for path in list_folder(folder)]
    except FileNotFoundError:  # an object store has no empty folders
        return set()
    return {int(match[1]) for match in map(_NAME.fullmatch, names) if match}


def write_part(folder: str, number: int, rows: Sequence[Row]) -> None:
    """Write a part.

    Args:
        folder: The folder, here or elsewhere.
        number: The part.
        rows: For each clip, or each window of a long video, `index` (position in the list),
            `path`, `labels` (list of int), `pred_label`, `scores` (num_classes,), `unreadable`
            (the reason; then there are no scores); for windows `start_frame` and `end_frame`,
            and maybe `embedding` (D,).
    """
    parquet = _parquet()
    import pyarrow as arrow

    kinds = dict(
        index=arrow.int64(),
        path=arrow.string(),
        start_frame=arrow.int64(),
        end_frame=arrow.int64(),
        labels=arrow.list_(arrow.int32()),
        pred_label=arrow.int32(),
        scores=arrow.list_(arrow.float32()),
        embedding=arrow.list_(arrow.float32()),
        unreadable=arrow.string(),
    )
    optional = ('start_frame', 'end_frame', 'embedding')
    names = [n for n in kinds if n not in optional or any(n in row for row in rows)]
    columns = {name: [_plain(row.get(name)) for row in rows] for name in names}
    columns['path'] = [printable(redacted(path)) for path in columns['path']]
    schema = arrow.schema([(name, kinds[name]) for name in names])
    with atomic_path(part_path(folder, number)) as part:
        parquet.write_table(arrow.table(columns, schema=schema), part)


def _plain(value: object) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value


def _tables(folder: str | Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    parquet = _parquet()
    for number in sorted(parts_there(os.fspath(folder))):
        path = part_path(os.fspath(folder), number)
        try:
            with open_file(path) as file:
                yield parquet.read_table(file, columns=columns)
        except ValueError as error:  # pyarrow's own errors are of this type
            raise ValueError(
                f'{redacted(path)} is damaged ({error}): remove it and go on'
            ) from None


def read_parts(folder: str | Path) -> list[dict[str, Any]]:
    """Predictions as the metrics and the report take them, in the order of the list.

    Args:
        folder: Folder of the parts.

    Returns:
        Dicts of `filename`, `sample_idx`, `pred_score` (num_classes,), `pred_label`,
        `gt_label` and, for a clip that could not be read, `unreadable`; its scores are 0.

    Raises:
        ValueError: There are none, they are of windows, or none has a label.
    """
    samples: list[dict[str, Any]] = []
    for table in _tables(folder):
        if 'start_frame' in table.column_names:
            raise ValueError(
                f'{redacted(folder)} holds windows of long videos, which have no label'
            )
        samples += [_sample(row) for row in table.to_pylist()]
    if not samples:
        raise ValueError(f'{redacted(folder)} holds no part-*.parquet of "mmaction predict"')
    size = next(
        (len(sample['pred_score']) for sample in samples if sample['pred_score'].numel()), 0
    )
    for sample in samples:
        if not sample['gt_label'].numel():
            raise ValueError(f'{redacted(folder)}: {sample["filename"]} has no label')
        if not sample['pred_score'].numel():
            sample.update(pred_score=torch.zeros(size), pred_label=torch.tensor([-1]))
    return samples


def _sample(row: Row) -> dict[str, Any]:
    sample = dict(
        filename=row['path'],
        sample_idx=row['index'],
        pred_score=torch.tensor(row['scores'] or []),
        pred_label=torch.tensor([row['pred_label'] if row['scores'] else -1]),
        gt_label=torch.tensor([label for label in row['labels'] if label >= 0], dtype=torch.long),
    )
    return sample | ({'unreadable': row['unreadable']} if row['unreadable'] else {})


def check_parts(folder: str | Path, clips: int) -> tuple[int, int]:
    """Hold the parts against the list: each clip is there, and in one part only.

    Args:
        folder: Folder of the parts.
        clips: Clips of the list.

    Returns:
        Clips, and those of them that could not be read.

    Raises:
        ValueError: Clips are missing, or there twice.
    """
    seen = np.zeros(clips, np.int64)
    unreadable = 0
    for table in _tables(folder, ['index', 'unreadable']):
        positions = np.unique(table['index'].to_numpy())
        if len(positions) and positions[-1] >= clips:
            raise ValueError(
                f'{redacted(folder)}: there is a clip {positions[-1]}, the list has {clips}'
            )
        seen[positions] += 1
        unreadable += len(table) - table['unreadable'].null_count
    for wrong, what in ((seen == 0, 'missing'), (seen > 1, 'in two parts')):
        if wrong.any():
            raise ValueError(
                f'{redacted(folder)}: {int(wrong.sum())} of {clips} clips are {what}, the first is '
                f'number {int(wrong.argmax())}; run the prediction again, which goes on'
            )
    return clips, unreadable
