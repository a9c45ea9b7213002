"""The lists that training reads, checked by reading them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.utils.io import partial_path, write_lines

from .outcomes import RowOutcome

__all__ = ['check_list', 'list_name', 'list_text']


def list_name(name: str, frames: bool, outcomes: Sequence[RowOutcome]) -> str:
    """File name of a list: train.txt, train_rawframes.txt, or .json for labels by category."""
    by_category = any(isinstance(outcome.row.label, dict) for outcome in outcomes)
    return f'{name}{"_rawframes" if frames else ""}{".json" if by_category else ".txt"}'


def _span(outcome: RowOutcome) -> tuple[int, int]:
    """First frame and number of frames of a segment of a video that is a folder of frames."""
    row, frames = outcome.row, outcome.frames
    assert row.segment is not None
    assert frames is not None
    rate = frames.total / row.duration
    start = min(int(row.segment[0] * rate), frames.total - 1)
    end = min(max(int(row.segment[1] * rate), start), frames.total - 1)
    return start, end - start + 1


def _numbers(outcome: RowOutcome) -> list[int]:
    label = outcome.row.label
    numbers: list[int] = []
    if outcome.frames is not None:
        segment = outcome.row.segment is not None
        numbers += _span(outcome) if segment else [outcome.frames.total]
    if isinstance(label, int):
        numbers.append(label)
    elif isinstance(label, tuple):
        numbers += label
    return numbers


def list_text(outcomes: Sequence[RowOutcome]) -> Iterator[str]:
    """The lines of a list: path, frames if it has any, labels; or JSON for labels by category."""
    if not any(isinstance(outcome.row.label, dict) for outcome in outcomes):
        for outcome in outcomes:
            yield ' '.join([outcome.path, *map(str, _numbers(outcome))])
        return
    for i, outcome in enumerate(outcomes):
        entry: dict[str, Any] = {'filename': outcome.path}
        if outcome.frames is not None:
            entry = {'frame_dir': outcome.path, 'total_frames': outcome.frames.total}
        entry['label'] = outcome.row.label
        yield f'{"[" if i == 0 else ""}{json.dumps(entry)}{"," if i + 1 < len(outcomes) else "]"}'


def check_list(path: Path, outcomes: Sequence[RowOutcome]) -> None:
    """Write a list under another name, and see that it reads as it is meant.

    Raises:
        ValueError: A path cannot stand in a list.
    """
    for outcome in outcomes:
        if '\n' in outcome.path:
            raise ValueError(f'{outcome.path!r} cannot stand in a list: rename it')
    if path.suffix == '.json':
        return
    trial = partial_path(path)
    write_lines(trial, list_text(outcomes))
    form = ListFormat(
        'path',
        _counts(outcomes),
        multi_class=any(isinstance(outcome.row.label, tuple) for outcome in outcomes),
    )
    try:
        entries = read_list(str(trial), form)
    finally:
        trial.unlink()
    for outcome, entry in zip(outcomes, entries, strict=True):
        if entry['path'] != outcome.path:
            raise ValueError(
                f'{outcome.path!r} cannot stand in a list, where it reads as '
                f'{entry["path"]!r}: rename it'
            )


def _counts(outcomes: Sequence[RowOutcome]) -> dict[str, int]:
    first = outcomes[0]
    if first.frames is None:
        return {}
    return {'offset': 0, 'total_frames': 1} if first.row.segment else {'total_frames': 1}
