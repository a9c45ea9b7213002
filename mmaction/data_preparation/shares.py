"""Bringing together what several machines have done of one work."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmaction.datasets import FeatureStore
from mmaction.utils.io import lock, remove_partials
from mmaction.utils.plurals import how_many
from mmaction.utils.prediction_parts import check_parts
from mmaction.utils.remote import exists, is_remote, read_bytes, redacted

from .jobs import report_failures
from .packing import merge_packed
from .share_records import Record, failures_name, read_records

__all__ = ['merge_shares']


def merge_shares(folder: str | Path) -> list[str]:
    """Bring together what the shares of each tool have left in a folder.

    Args:
        folder: The folder that all of them wrote to.

    Returns:
        What to print: a line for each tool.

    Raises:
        ValueError: A share, or an item, is missing or there twice; or there are no shares.
    """
    records = read_records(folder)
    lines = []
    for tool in sorted({record.tool for record in records}):
        lines.append(_merge_tool(folder, [r for r in records if r.tool == tool]))
    settings = os.path.join(folder, 'predict.json')
    if exists(settings):
        clips = json.loads(read_bytes(settings, fresh=True))['clips']
        _, unreadable = check_parts(folder, clips)
        count = how_many(clips, 'clip')
        lines.append(f'predict: {count}, each once, {unreadable} of them not read')
    if not lines:
        raise ValueError(f'{redacted(folder)} holds no shares: commands with --shard leave them')
    return lines


def _merge_tool(folder: str | Path, records: Sequence[Record]) -> str:
    tool, where = records[0].tool, redacted(folder)
    counts = sorted({record.share.count for record in records})
    if len(counts) > 1:
        raise ValueError(
            f'{where}: {tool} was run in {" and in ".join(map(str, counts))} shares: remove the '
            f'records share-{tool}-*-of-{counts[0]:03}.json of those that do not count'
        )
    missing = sorted(set(range(counts[0])) - {record.share.index for record in records})
    if missing:
        shown = ', '.join(f'{index}/{counts[0]}' for index in missing[:10])
        raise ValueError(
            f'{where}: {len(missing)} of the {counts[0]} shares of {tool} are not done: --shard '
            f'{shown}'
        )
    if len({record.total for record in records}) > 1:
        raise ValueError(
            f'{where}: the shares of {tool} are of different work ({records[0].total} and '
            f'{next(r.total for r in records if r.total != records[0].total)} items): run them '
            'again'
        )
    failures = {name: why for record in records for name, why in record.failures.items()}
    shares = [record.share.label for record in records]
    if tool == 'pack':
        text = merge_packed(folder, shares)
    else:
        text = _merge_files(folder, records)
    if tool == 'features':
        FeatureStore(folder, None).merge(shares)
    if not is_remote(folder):
        report_failures(failures, Path(folder, 'failures.txt'), 'items failed')
        for record in records:
            Path(folder, failures_name(record.share)).unlink(missing_ok=True)
    return f'{tool}: {text}, {len(failures)} failed'


def _merge_files(folder: str | Path, records: Sequence[Record]) -> str:
    """Hold what the shares name against each other and, where they made files, against these."""
    tool, total = records[0].tool, records[0].total
    found = Counter(item for record in records for item in record.items)
    twice = [item for item, count in found.items() if count > 1]
    if twice or len(found) != total:
        what = f'{twice[0]} is in two of them' if twice else f'they hold {len(found)} of {total}'
        raise ValueError(f'{redacted(folder)}: the shares of {tool} do not add up: {what}')
    if tool == 'prepare_videos':
        with lock(folder, 'tool'):
            remove_partials(folder, recursive=True)
        failed = [os.path.splitext(name)[0] for record in records for name in record.failures]
        holes = [
            item
            for item in found
            if not Path(folder, item).is_file()
            and not any(name.endswith(f'/{os.path.splitext(item)[0]}') for name in failed)
        ]
        if holes:
            raise ValueError(
                f'{redacted(folder)}: {how_many(len(holes), "file")} missing, the first is '
                f'{holes[0]}: run the shares again, which make what is missing'
            )
    return f'{how_many(total, "item")} in {how_many(len(records), "share")}'
