"""Find the videos of a list that training could not read, before training.

    python tools/data/check_videos.py LIST_OR_FOLDER [--data-prefix DIR] [--quick]

Every frame of every video is decoded as in training, in child processes that a crash or a
hang cannot stop. For a list train.txt this writes, beside it or into --out:

    train.bad.txt       the videos that cannot be read, each with the reason
    train.clean.txt     the lines of the list without them
    train.stats.json    sizes, frame rates, lengths, codecs, key-frame spacing
    train.videos.jsonl  the same of each video; run again, videos in it are not read again

The exit status is 1 if there are bad videos.
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
    from mmaction.utils.cli import add_job_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('list', type=Path, metavar='LIST_OR_FOLDER', help='.txt, .csv or .json list, or a folder')
    add('--data-prefix', type=Path, help='folder of the videos (default: that of the list)')
    add('--multi-class', action='store_true', help='the list has any number of labels on a line')
    add('--delimiter', default=' ', help='what parts path and label')
    add('--quick', action='store_true', help='decode the first, middle and last frame only')
    add('--out', type=Path, metavar='DIR', help='where to write (default: beside the list)')
    add_job_options(parser, timeout=300)
    return parser.parse_args(argv)


def read_entries(args: argparse.Namespace) -> Listed:
    """The videos of a list or a folder.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: The list is malformed, or the folder holds no videos.
    """
    from mmaction.data_preparation.jobs import VIDEO_EXTENSIONS, find_files
    from mmaction.datasets.annotations import ListFormat, read_list

    file: Path = args.list
    if file.is_dir():
        names, _ = find_files(file, VIDEO_EXTENSIONS)
        if not names:
            raise ValueError(f'there are no videos in {str(file)!r}')
        return Listed([str(file / name) for name in names], names, 'videos', '.txt', file)
    form = ListFormat('filename', delimiter=args.delimiter, multi_class=args.multi_class)
    parsed = read_list(str(file), form)
    prefix = file.parent if args.data_prefix is None else args.data_prefix
    paths = [os.path.join(prefix, entry['filename']) for entry in parsed]
    text = file.read_text(encoding='utf-8-sig', errors='surrogateescape')
    if file.suffix.lower() == '.json':
        entries: list[Any] = json.loads(text)
    else:
        entries = [line.strip() for line in text.split('\n') if line.strip()]
    return Listed(paths, entries, file.stem, file.suffix, file.parent)


def inspect(path: str, quick: bool) -> dict[str, Any]:
    """Read a video as training does: in a child process.

    Args:
        path: The video.
        quick: Decode three frames instead of all.

    Returns:
        What there is to know about it; `remark` is what is odd but does no harm.

    Raises:
        UnreadableVideoError: It, or a frame of it, cannot be read.
    """
    from mmaction.data_preparation.jobs import frame_chunks
    from mmaction.datasets.decoders import DefaultReader
    from mmaction.datasets.decoders.reader import video_path

    reader = DefaultReader(video_path(path))
    try:
        if quick:
            frames = reader.get_batch([0, len(reader) // 2, len(reader) - 1])
        else:
            for chunk in frame_chunks(reader):
                frames = chunk
        fps = reader.get_avg_fps()
        facts = {
            'size': f'{frames.shape[2]}x{frames.shape[1]}',
            'fps': round(fps, 3),
            'frames': len(reader),
            'seconds': round(len(reader) / fps, 3) if fps else 0.0,
            **reader.stream_facts(),
        }
        remarks = []
        told, hidden = facts.pop('frames_told'), facts.pop('frames_hidden')
        if hidden:
            remarks.append(f'{hidden} more frames are hidden: it was cut without re-encoding')
        if told not in (0, len(reader) + hidden):
            remarks.append(f'its header tells of {told} frames')
        if reader.fallback:
            remarks.append(f'decord fails on it, PyAV reads it: {reader.fallback}')
        return {**facts, 'remark': '; '.join(remarks)}
    finally:
        reader.close()


class Journal:
    """What is known of each video, kept from run to run.

    Args:
        file: A JSON object for each video on a line; what an interrupted run
            left of the last one does no harm.
        quick: Facts of a quick check do not stand for those of a full one.
    """

    def __init__(self, file: Path, quick: bool) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self._quick = quick
        if file.exists():
            for line in file.read_text(encoding='utf-8').splitlines():
                try:
                    record = json.loads(line)
                    name, stamp, facts = record['path'], record['stamp'], record['facts']
                except (ValueError, LookupError, TypeError):
                    continue
                if stamp == self._stamp(name) and record.get('quick', True) <= quick:
                    self.facts[name] = facts
        self._file = file.open('a', encoding='utf-8')
        # After half a line of an interrupted run.
        self._file.write('\n' if file.stat().st_size else '')

    @staticmethod
    def _stamp(name: str) -> list[int] | None:
        from mmaction.datasets.decoders.reader import video_path

        try:
            status = os.stat(video_path(name))
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns]

    def add(self, name: str, facts: dict[str, Any]) -> None:
        """Note the facts of a video."""
        self.facts[name] = facts
        record = dict(path=name, stamp=self._stamp(name), quick=self._quick, facts=facts)
        self._file.write(json.dumps(record) + '\n')
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
    import av  # noqa: F401  the children inherit it
    import decord  # noqa: F401

    from mmaction.data_preparation.jobs import report_failures, run_jobs
    from mmaction.utils.cli import printable
    from mmaction.utils.io import write_lines

    listed = read_entries(args)
    out = args.out or listed.folder
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / f'{listed.name}.videos.jsonl', args.quick)
    jobs = [path for path in dict.fromkeys(listed.paths) if path not in journal.facts]
    bad: dict[str, str] = {}
    inspecting = functools.partial(inspect, quick=args.quick)
    try:
        for path, facts, reason in run_jobs(
            inspecting, jobs, workers=args.workers, timeout=args.timeout, title='check'
        ):
            if reason is None:
                journal.add(path, facts)
            else:
                bad[path] = reason
    finally:
        journal.close()
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
    print(f'{len(good)} videos can be read, {len(bad)} cannot')
    return 1 if bad else 0


def main(argv: list[str] | None = None) -> None:
    """Parse, check, exit."""
    args = parse_args(argv)
    from mmaction.utils.cli import user_errors

    with user_errors(setup=True):
        sys.exit(check(args))


if __name__ == '__main__':
    main()
