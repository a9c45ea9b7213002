"""Find the videos of a list that training could not read, before training.

    python tools/data/check_videos.py LIST_OR_FOLDER [--data-prefix DIR] [--quick]

Every frame of every video is decoded as in training, in child processes that a crash or a
hang cannot stop. For a list train.txt this writes, beside it or into --out (for a folder
FOLDER videos.bad.txt and so on, into work_dirs/check_FOLDER, lest they lie among the videos):

    train.bad.txt       the videos that cannot be read, each with the reason
    train.clean.txt     the lines of the list without them
    train.stats.json    sizes, frame rates, lengths, codecs, key-frame spacing
    train.videos.jsonl  the same of each video; run again, videos in it are not read again

The exit status is 1 if there are bad videos. With --shard only a share is read and none of
the lists is written: run it once more without, after all shares; it reads what is bad again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.utils.plurals import how_many

_CATEGORIES = ('codec', 'container', 'size')
_NUMBERS = ('fps', 'frames', 'seconds', 'key_frame_spacing')


class Listed(NamedTuple):
    """What is to be checked.

    Args:
        paths: The videos, one for each entry.
        entries: The entries: lines of text or JSON objects.
        name: Stem of the files to write.
        extension: Extension of the clean list.
        folder: Where they go by default.
    """

    paths: list[str]
    entries: list[Any]
    name: str
    extension: str
    folder: Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    from mmaction.utils.cli import Parser, add_job_options
    from mmaction.utils.work_share import add_ray_option, add_share_option

    parser = Parser(description=__doc__)
    add = parser.add_argument
    add('list', metavar='LIST_OR_FOLDER', help='.txt, .csv or .json list, or a folder')
    add('--data-prefix', help='folder of the videos (default: that of the list)')
    add('--multi-class', action='store_true', help='the list has any number of labels on a line')
    add('--delimiter', default=' ', help='what parts path and label')
    add('--quick', action='store_true', help='decode the first, middle and last frame only')
    add('--out', type=Path, metavar='DIR', help='where to write (default: see above)')
    add_job_options(parser, timeout=300)
    add_share_option(parser)
    add_ray_option(parser)
    return parser.parse_args(argv)


def read_entries(args: argparse.Namespace) -> Listed:
    """The videos of a list or a folder.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: The list is malformed, or the folder holds no videos.
    """
    from mmaction.data_preparation.jobs import find_videos
    from mmaction.datasets.annotations import ListFormat, read_list
    from mmaction.utils.remote import is_remote, read_bytes

    file = Path(args.list)
    if file.is_dir():
        names = find_videos(file)
        paths = [str(file / name) for name in names]
        # From the root on: the list does not lie in the folder.
        entries: list[Any] = [str(file.resolve() / name) for name in names]
        folder = Path('work_dirs', f'check_{file.resolve().name}')
        return Listed(paths, entries, 'videos', '.txt', folder)
    if is_remote(args.list) and args.out is None:
        raise ValueError('--out DIR: what is known of the videos of a remote list is kept locally')
    form = ListFormat('filename', delimiter=args.delimiter, multi_class=args.multi_class)
    parsed = read_list(args.list, form)
    prefix = os.path.dirname(args.list) if args.data_prefix is None else args.data_prefix
    paths = [os.path.join(prefix, entry['filename']) for entry in parsed]
    text = read_bytes(args.list, fresh=True).decode('utf-8-sig', errors='surrogateescape')
    if file.suffix.lower() == '.json':
        entries = json.loads(text)
    else:
        entries = [line.strip() for line in text.split('\n') if line.strip()]
    return Listed(paths, entries, file.stem, file.suffix, file.parent)


def summary(facts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Counts of what is named, and least, middle and greatest value of what is measured."""
    import numpy as np

    facts = list(facts)
    result: dict[str, Any] = {'videos': len(facts)}
    for key in _CATEGORIES:
        result[key] = dict(Counter(one[key] for one in facts).most_common())
    for key in _NUMBERS:
        low, middle, high = np.percentile([one[key] for one in facts], [0, 50, 100]).round(3)
        result[key] = dict(min=float(low), median=float(middle), max=float(high))
    return result


def print_summary(result: dict[str, Any]) -> None:
    """Print the statistics as a small table."""
    for key in _CATEGORIES:
        kinds = [f'{name} ({count})' for name, count in list(result[key].items())[:5]]
        more = len(result[key]) - len(kinds)
        print(f'{key:<18} {", ".join(kinds)}{f" and {more} more" if more else ""}')
    for key in _NUMBERS:
        low, middle, high = result[key].values()
        print(f'{key.replace("_", "-"):<18} {low:g} to {high:g}, median {middle:g}')


def check(args: argparse.Namespace) -> int:
    """Read all videos and write what came of it; the exit status."""
    from mmaction.utils.io import lock

    listed = read_entries(args)
    out = args.out or listed.folder
    own = '' if args.shard.is_all else f'-{args.shard.label}'
    with lock(out / f'{listed.name}.videos{own}.jsonl', 'tool', is_file=True):
        return _check_listed(args, listed, out)


def _check_listed(args: argparse.Namespace, listed: Listed, out: Path) -> int:
    from mmaction.data_preparation.integrity import Journal, inspect_video
    from mmaction.data_preparation.jobs import report_failures, run_jobs
    from mmaction.data_preparation.share_records import Record, failures_name, write_record
    from mmaction.utils.cli import printable
    from mmaction.utils.io import write_lines

    journal = Journal(out / f'{listed.name}.videos.jsonl', args.quick, args.shard)
    paths = list(dict.fromkeys(listed.paths))
    mine = args.shard.of(paths)
    jobs = [path for path in mine if path not in journal.facts]
    bad: dict[str, str] = {}
    inspecting = functools.partial(inspect_video, quick=args.quick)
    try:
        for path, facts, reason in run_jobs(
            inspecting,
            jobs,
            workers=args.workers,
            timeout=args.timeout,
            title='check',
            ray=args.ray,
        ):
            if reason is None:
                journal.add(path, facts)
            else:
                bad[path] = reason
    finally:
        journal.close()
    if not args.shard.is_all:
        write_record(out, Record('check_videos', args.shard, len(paths), mine, bad))
        report_failures(bad, out / failures_name(args.shard), 'bad videos')
        good_ones = how_many(len(mine) - len(bad), 'video')
        print(f'share {args.shard.label}: {good_ones} can be read, {len(bad)} not')
        return 1 if bad else 0
    good = {path: journal.facts[path] for path in listed.paths if path not in bad}
    report_failures(bad, out / f'{listed.name}.bad.txt', 'bad videos')
    result = summary(good.values()) if good else {'videos': 0}
    result['bad'] = len(bad)
    write_lines(out / f'{listed.name}.stats.json', [json.dumps(result, indent=2)])
    pairs = zip(listed.paths, listed.entries, strict=True)
    clean = [entry for path, entry in pairs if path not in bad]
    if listed.extension.lower() == '.json':
        clean = [json.dumps(clean)]
    write_lines(out / f'{listed.name}.clean{listed.extension}', clean)
    for path, facts in good.items():
        if facts['remark']:
            print(f'note: {printable(path)}: {facts["remark"]}')
    if good:
        print_summary(result)
    told = f'{how_many(len(good), "video")} can be read, {len(bad)} cannot'
    print(f'{told}; written: {out / listed.name}.*')
    return 1 if bad else 0


def main(argv: list[str] | None = None) -> None:
    """Parse, check, exit."""
    args = parse_args(argv)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'list')

    with user_errors(setup=True):
        sys.exit(check(args))


if __name__ == '__main__':
    main()
