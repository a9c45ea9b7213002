"""The lists that training reads, checked by reading them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.utils.io import partial_path, write_lines

from .outcomes import RowOutcome

__all__ = ['check_list', 'list_format', 'list_name', 'list_text']


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


def list_format(outcomes: Sequence[RowOutcome]) -> ListFormat | None:
    """As what a list is read again; None of one in JSON."""
    first = outcomes[0]
    if any(isinstance(outcome.row.label, dict) for outcome in outcomes):
        return None
    counts = {} if first.frames is None else {'total_frames': 1}
    if counts and first.row.segment:
        counts = {'offset': 0, **counts}
    several = any(isinstance(outcome.row.label, tuple) for outcome in outcomes)
    return ListFormat('path', counts, multi_class=several)


def check_list(
    path: Path, lines: Iterable[str], form: ListFormat | None, clips: Sequence[str]
) -> None:
    """Write a list under another name, and see that it reads as it is meant.

    Args:
        path: Where the list will be.
        lines: What it says.
        form: As what it is read; None if it is JSON, which is not read here.
        clips: The paths in it.

    Raises:
        ValueError: A path cannot stand in a list.
    """
    for clip in clips:
        if '\n' in clip:
            raise ValueError(f'{clip!r} cannot stand in a list: rename it')
    if form is None:
        return
    trial = partial_path(path)
    write_lines(trial, lines)
    try:
        entries = read_list(str(trial), form)
    finally:
        trial.unlink()
    for clip, entry in zip(clips, entries, strict=True):
        if entry['path'] != clip:
            raise ValueError(
                f'{clip!r} cannot stand in a list, where it reads as {entry["path"]!r}: rename it'
            )
