"""Finding the clip of each row, and cutting it where it is a part of a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .jobs import run_jobs
from .media_index import AmbiguousClipError, MediaIndex
from .outcomes import KEPT, LEFT_OUT, MISSING, UNREADABLE, RowOutcome
from .schema import Annotation, Reader, Row
from .trimming import Cut, cut

__all__ = ['Taken', 'explain_uncut', 'match_rows', 'trim']


def trim(
    annotation: Annotation, videos: Path, index: MediaIndex, workers: int, timeout: float
) -> tuple[MediaIndex, dict[tuple[str, ...], str]]:
    """Cut segments out of whole videos, as `clips/NAME.mp4`, where they are not there yet.

    Args:
        annotation: Its rows with a segment.
        videos: Folder of the videos and the clips.
        index: What is in it.
        workers: Videos to cut at the same time.
        timeout: Seconds for one.

    Returns:
        The index with the new clips; and of rows whose clip could not be cut, by their
        names, why.
    """
    jobs: dict[Cut, Row] = {}
    for row in (row for rows in annotation.lists.values() for row in rows):
        if row.segment is None or row.left_out or _find(row.names, index, row.split)[0]:
            continue
        source, _, _ = _find(row.source, index, row.split)
        if source:
            target = videos / 'clips' / f'{row.names[0]}.mp4'
            jobs[Cut(str(videos / source), str(target), *row.segment)] = row
    failed: dict[tuple[str, ...], str] = {}
    made = list(index.paths)
    for job, _, reason in run_jobs(cut, list(jobs), workers=workers, timeout=timeout, title='cut'):
        if reason is None:
            made.append(f'clips/{Path(job.target).name}')
        else:
            failed[jobs[job].names] = f'cutting it failed: {reason}'
    return index.with_paths(sorted(made)), failed


def _find(names: Sequence[str], index: MediaIndex, split: str) -> tuple[str | None, int, str]:
    """The clip of the first name that has one, which name that is, or why there is none."""
    for number, name in enumerate(names):
        try:
            path = index.find(name, split)
        except AmbiguousClipError as error:
            return None, number, str(error)
        if path is not None:
            return path, number, ''
    return None, -1, ''


# The clips that rows have, and where these rows stand.
Taken = dict[tuple[str, tuple[float, float] | None], str]


def match_rows(
    rows: list[Row],
    index: MediaIndex,
    reader: Reader,
    frames: bool,
    notes: list[str],
    others: Taken,
) -> list[RowOutcome]:
    """Find the clip of each row of a list.

    Args:
        rows: The rows.
        index: The clips.
        reader: Of the dataset.
        frames: Clips are folders, of which segments are a part.
        notes: Gets what the user should know.
        others: Gets the clips. Where one name may mean two clips (`Reader.one_naming`), a
            clip of another list is not taken again: it would be trained and tested on.

    Returns:
        What became of each row.
    """
    from tqdm import tqdm

    naming = _usual_naming(rows, index) if reader.one_naming else None
    labeled = any(row.label is not None for row in rows)
    taken = others if reader.one_naming else {}
    outcomes = []
    used: Counter[int] = Counter()
    for row in tqdm(rows, desc='find clips', unit='row', mininterval=0.5):
        outcome = RowOutcome(row, KEPT)
        outcomes.append(outcome)
        if row.left_out:
            outcome.drop(LEFT_OUT, row.left_out)
            continue
        if labeled and row.label is None:
            outcome.drop(LEFT_OUT, 'it has no label')
            continue
        names = row.names if naming is None else row.names[naming : naming + 1]
        if frames and row.segment is not None:
            names = row.source
        path, number, why = _find(names, index, row.split)
        if path is None:
            outcome.drop(LEFT_OUT if why else MISSING, why or f'no {names[0]!r} among the clips')
            continue
        outcome.path = path
        key = (path, row.segment)
        if key in taken:
            outcome.drop(LEFT_OUT, f'its clip is that of {taken[key]} already')
            continue
        taken[key] = row.place
        used[number] += 1
    if naming:
        notes.append(f'clips are named as {rows[0].names[naming]!r}, not {rows[0].names[0]!r}')
    return outcomes


def _usual_naming(rows: Iterable[Row], index: MediaIndex) -> int:
    """Which of the names of a row most clips have."""
    counts: Counter[int] = Counter()
    for row in rows:
        for number, name in enumerate(row.names):
            counts[number] += _find((name,), index, row.split)[0] is not None
    return max(counts, key=lambda number: (counts[number], -number), default=0)


def explain_uncut(
    lists: dict[str, list[RowOutcome]], index: MediaIndex, failed: dict[tuple[str, ...], str]
) -> None:
    """Say of segments that are missing whether their video is there."""
    for outcome in (one for outcomes in lists.values() for one in outcomes):
        row = outcome.row
        if outcome.status != MISSING or row.segment is None:
            continue
        if row.names in failed:
            outcome.drop(UNREADABLE, failed[row.names])
        elif _find(row.source, index, row.split)[0]:
            outcome.drop(MISSING, 'it is not cut out of its video yet: add --trim')
        else:
            outcome.drop(MISSING, f'no {row.source[0]!r} among the videos')
