"""What became of each row of an annotation, as a table and as a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmaction.datasets.numbered_frames import FrameFolder
from mmaction.utils.cli import one_line, printable
from mmaction.utils.io import write_lines

from .schema import Row

__all__ = [
    'KEPT',
    'LEFT_OUT',
    'MISSING',
    'UNREADABLE',
    'RowOutcome',
    'summary_table',
    'write_dropped',
]

KEPT, MISSING, UNREADABLE, LEFT_OUT = 'kept', 'missing', 'unreadable', 'left out'


@dataclass
class RowOutcome:
    """What became of a row.

    Args:
        row: The row.
        status: One of the constants of this module.
        path: Its clip, relative to the folder of the clips.
        reason: Why it is not kept.
        frames: The frames, if the clip is a folder of images.
    """

    row: Row
    status: str
    path: str = ''
    reason: str = ''
    frames: FrameFolder | None = None

    def drop(self, status: str, reason: str) -> None:
        """Keep the row no longer."""
        self.status, self.reason = status, reason


def summary_table(lists: dict[str, list[RowOutcome]], official: dict[str, int]) -> list[str]:
    """A table with a line for each list: published rows, rows, and what became of them."""
    head = ('list', 'official', 'annotation', 'differs', KEPT, MISSING, UNREADABLE, LEFT_OUT)
    table: list[tuple[str, ...]] = [head]
    for name, outcomes in lists.items():
        counts = Counter(outcome.status for outcome in outcomes)
        published = official.get(name)
        differs = 0 if published is None else len(outcomes) - published
        table.append(
            (
                name,
                '-' if published is None else str(published),
                str(len(outcomes)),
                f'{differs:+}' if differs else '',
                *(str(counts[status]) for status in (KEPT, MISSING, UNREADABLE, LEFT_OUT)),
            )
        )
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def left_out_reasons(lists: dict[str, list[RowOutcome]]) -> list[str]:
    """For each list, the commonest reasons for which rows were left out."""
    lines = []
    for name, outcomes in lists.items():
        reasons = Counter(o.reason for o in outcomes if o.status == LEFT_OUT)
        lines += [f'{name}: {n} left out: {why}' for why, n in reasons.most_common(2)]
        if len(reasons) > 2:
            lines.append(f'{name}: and {len(reasons) - 2} other reasons for leaving rows out')
    return lines


def write_dropped(path: Path, lists: dict[str, list[RowOutcome]]) -> int:
    """Write a line for each row that is not kept: list, what became of it, clip, place, reason.

    Returns:
        The number of such rows; without any the file is removed.
    """
    lines = ['list\tstatus\tclip\trow\treason']
    for name, outcomes in lists.items():
        for outcome in outcomes:
            if outcome.status != KEPT:
                row = outcome.row
                clip = outcome.path or (row.names[0] if row.names else '')
                fields = (name, outcome.status, clip, row.place, outcome.reason)
                lines.append('\t'.join(one_line(printable(field)) for field in fields))
    if len(lines) > 1:
        write_lines(path, lines)
    else:
        path.unlink(missing_ok=True)
    return len(lines) - 1
