"""Records of what several machines have done of one work."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmaction.utils.io import write_json
from mmaction.utils.remote import list_folder, read_bytes
from mmaction.utils.work_share import WorkShare

__all__ = ['Record', 'failures_name', 'read_records', 'write_record']

_NAME = re.compile(r'share-([a-z_]+)-(\d{3,})-of-(\d{3,})\.json')


class Record(NamedTuple):
    """What a share has done.

    Args:
        tool: Name of the command.
        share: Which share.
        total: Items of all shares together.
        items: The items of this share, where they are files: from the folder of the record on.
        failures: Those that could not be done, each with the reason.
    """

    tool: str
    share: WorkShare
    total: int
    items: Sequence[str]
    failures: dict[str, str]


def failures_name(share: WorkShare) -> str:
    """Name of the file that lists what a share could not do."""
    return 'failures.txt' if share.is_all else f'failures-{share.label}.txt'


def write_record(folder: str | Path, record: Record) -> None:
    """Write down that a share is done."""
    content = dict(total=record.total, items=list(record.items), failures=record.failures)
    name = f'share-{record.tool}-{record.share.label}.json'
    write_json(os.path.join(folder, name), content, indent=None)


def read_records(folder: str | Path) -> list[Record]:
    """The records of a folder, by tool and share."""
    records = []
    for path in list_folder(folder):
        match = _NAME.fullmatch(path.rpartition('/')[2])
        if match:
            content = json.loads(read_bytes(path, fresh=True))
            share = WorkShare(int(match[2]), int(match[3]))
            records.append(Record(match[1], share, **content))
    return sorted(records, key=lambda record: (record.tool, record.share))
