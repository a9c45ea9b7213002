"""Clips of one's own, from a folder or a table to lists that training reads."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmaction.datasets.decoders import PyAVReader
from mmaction.utils.class_names import class_names_beside
from mmaction.utils.cli import brief, some
from mmaction.utils.file_types import IMAGE_EXTENSIONS

from .file_lists import SPLITS, Clip, from_csv, from_folders, split_by_group
from .integrity import check_clips
from .jobs import check_settings, find_files, is_done, report_failures
from .reencode import Settings, reencode_videos

__all__ = [
    'divide',
    'find_own_clips',
    'frame_counts',
    'join_copies',
    'prepare_clips',
    'smallest_side',
    'split_folds',
]


def find_own_clips(source: Path) -> tuple[list[Clip], Path]:
    """The clips of a folder with a folder for each class, or of a table.

    The folders of the classes may be in folders train, val and test. A table is a .csv or
    .tsv with the columns path, label and maybe group and split, or a .txt with a path and a
    label a line (`classes.txt` beside it names the labels). Paths start at its folder.

    Args:
        source: The folder or the table.

    Returns:
        The clips, and the folder that their paths start from.

    Raises:
        ValueError: There are no clips, or they are not as described.
        FileNotFoundError: A clip of the table is not there.
    """
    if source.is_dir():
        folders = {path.name for path in source.iterdir() if path.is_dir()}
        splits = 'train' in folders and folders <= set(SPLITS)
        clips = from_folders(source, rawframes=False, splits=splits)
        if not clips:
            _, others = find_files(source, ())
            kinds = ', '.join(sorted(others)[:5]) or 'nothing'
            frames = (
                '. Folders of frames are trained on from lists, which '
                f'"python tools/data/build_file_list.py {shlex.quote(str(source))} --rawframes" '
                'writes (docs/data.md, "Extract frames")'
            )
            raise ValueError(
                f'there are no videos in {str(source)!r} (found: {kinds}); expected a folder for '
                'each class with videos in it, FOLDER/CLASS/clip.mp4'
                + (frames if others.keys() & IMAGE_EXTENSIONS else '')
            )
        return clips, source
    if source.suffix.lower() in ('.csv', '.tsv'):
        return from_csv(source, source.parent, rawframes=False), source.parent
    if source.suffix.lower() == '.txt':
        return _from_list(source), source.parent
    raise ValueError(f'{source}: expected a folder, or a table .csv, .tsv or .txt')


def _from_list(file: Path) -> list[Clip]:
    names = class_names_beside(str(file))
    clips: list[Clip] = []
    lines = file.read_text(encoding='utf-8-sig', errors='surrogateescape').splitlines()
    for number, line in enumerate(lines, start=1):
        place = f'{file}:{number}'
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(' ')
        if not path.strip():
            raise ValueError(f'{place}: expected "path label", found {brief(line)}')
        if names is not None and label.isdigit():
            if int(label) >= len(names):
                raise ValueError(f'{place}: label {label}, but classes.txt names {len(names)}')
            label = names[int(label)]
        path = path.strip()
        if not (file.parent / path).exists():
            hint = '' if clips else '; if this line is a heading, remove it: a .txt has none'
            raise FileNotFoundError(f'{place}: there is no clip {str(file.parent / path)!r}{hint}')
        clips.append(Clip(path, label, path, '', place))
    if not clips:
        raise ValueError(f'{file} names no clips')
    return clips


def prepare_clips(
    clips: Sequence[Clip],
    folder: Path,
    out: Path,
    *,
    as_is: bool,
    workers: int,
    timeout: float,
) -> tuple[list[Clip], dict[str, str]]:
    """Read every clip whole, and re-encode it for fast reading; what is done is kept.

    Args:
        clips: The clips.
        folder: From where their paths start.
        out: Folder to write to; `videos/` in it gets the new files.
        as_is: Only read them.
        workers: Clips at the same time.
        timeout: Seconds for one, after which it counts as broken.

    Returns:
        The clips that can be read, their paths now from `out/videos` on (with `as_is` as
        they were), and why the others cannot.

    Raises:
        ValueError: None can be read, or `out` holds videos of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    if as_is:
        bad = check_clips(
            {clip.path: None for clip in clips},
            folder=folder,
            journal_file=out / 'checked.jsonl',
            quick=False,
            workers=workers,
            timeout=timeout,
        )
        targets = {clip.path: clip.path for clip in clips}
    else:
        targets = _targets(clips)
        settings = Settings()
        check_settings(out / 'prepare_videos.json', settings._asdict(), overwrite=False)
        jobs = [
            (str(folder / path), str(out / 'videos' / target)) for path, target in targets.items()
        ]
        left = [job for job in jobs if not is_done(*job)]
        _, failures = reencode_videos(left, settings, workers=workers, timeout=timeout)
        bad = {clip.path: failures[str(folder / clip.path)] for clip in clips
               if str(folder / clip.path) in failures}  # fmt: skip
    report_failures(bad, out / 'left_out.txt', f'of {len(clips)} videos are broken and left out')
    kept = [
        dataclasses.replace(clip, path=targets[clip.path]) for clip in clips if clip.path not in bad
    ]
    if not kept:
        raise ValueError(f'none of the {len(clips)} videos can be read: see {out / "left_out.txt"}')
    return kept, bad


def _targets(clips: Sequence[Clip]) -> dict[str, str]:
    """A new file for each clip: its own path with `.mp4`, where that is free and within."""
    targets: dict[str, str] = {}
    taken: set[str] = set()
    for clip in clips:
        path = Path(clip.path)
        target = path.with_suffix('.mp4').as_posix()
        if path.is_absolute() or '..' in path.parts or target in taken:
            digest = hashlib.sha256(os.fsencode(clip.path)).hexdigest()[:8]
            target = f'{clip.label}/{path.stem}-{digest}.mp4'
        taken.add(target)
        targets[clip.path] = target
    return targets


def join_copies(clips: Sequence[Clip], folder: Path) -> tuple[list[Clip], list[str]]:
    """Put copies of one file into one group, so that none is trained on and tested on.

    Args:
        clips: The clips, with paths from `folder` on.
        folder: Their folder.

    Returns:
        The clips, and a sentence for each video that is there with several labels.
    """
    sizes = defaultdict(list)
    for clip in clips:
        with suppress(OSError):  # a link to nothing, say, of which reading it will tell
            sizes[(folder / clip.path).stat().st_size].append(clip)
    copies = defaultdict(list)
    for same in sizes.values():
        for clip in same if len(same) > 1 else []:
            copies[hashlib.sha256((folder / clip.path).read_bytes()).digest()].append(clip)
    # A group of a copy pulls the groups of the others with it.
    joined: dict[str, str] = {}

    def first(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    doubts = []
    for same in copies.values():
        for clip in same[1:]:
            a, b = first(same[0].group), first(clip.group)
            if a != b:
                joined[b] = a
        firsts = {clip.label: clip for clip in reversed(same)}
        if len(firsts) > 1:
            # One of each class first, for only some are named.
            order = sorted(same, key=lambda clip: firsts[clip.label] is not clip)
            paths = some([brief(clip.path) for clip in order], 5)
            labels = ' and as '.join(sorted(firsts))
            doubts.append(f'one video is there as {labels}, {len(same)} times: {paths}')
    return [dataclasses.replace(clip, group=first(clip.group)) for clip in clips], doubts


def smallest_side(files: Sequence[Path], most: int = 50) -> int:
    """Pixels of the shorter side of the smallest of the first videos."""
    sides = []
    for file in files[:most]:
        reader = PyAVReader(str(file))
        try:
            sides.append(int(min(reader.get_batch([0]).shape[1:3])))
        finally:
            reader.close()
    return min(sides)


def frame_counts(files: Sequence[Path], most: int = 1000) -> list[int]:
    """Frames of the videos; of more than `most`, of every n-th."""
    counts = []
    for file in files[:: -(-len(files) // most)]:
        reader = PyAVReader(str(file))
        counts.append(len(reader))
        reader.close()
    return counts


def divide(clips: Sequence[Clip], *, val: float, test: float, seed: int) -> dict[str, list[Clip]]:
    """Divide clips into train, val and test, each class alike and groups whole.

    A class of two groups has one to test on and none to validate on. Where the clips have a
    split already it stays; if none is for testing, that for validation is.

    Args:
        clips: The clips.
        val: Part of all clips to validate on.
        test: Part of all clips to test on.
        seed: Chooses among equal groups.

    Returns:
        The clips of each split that has any.

    Raises:
        ValueError: Nothing is left to train or to test on.
    """
    if clips[0].split:
        given = {name: [clip for clip in clips if clip.split == name] for name in SPLITS}
        if not given['test']:
            given['test'], given['val'] = given['val'], []
        return _checked(given)
    first = split_by_group(clips, test, seed)
    rest, tested = first['train'], first['val']
    return _checked({**_with_val(rest, val * len(clips) / max(1, len(rest)), seed), 'test': tested})


def _with_val(clips: Sequence[Clip], part: float, seed: int) -> dict[str, list[Clip]]:
    """Split off validation, of those classes that keep two groups for training."""
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        groups[clip.label].add(clip.group)
    enough = [clip for clip in clips if len(groups[clip.label]) > 2]
    few = [clip for clip in clips if len(groups[clip.label]) <= 2]
    divided = split_by_group(enough, part, seed) if enough and part else dict(train=enough, val=[])
    chosen = {clip.group for clip in divided['val']}
    # A group of several classes stays whole.
    moved = {clip.group for clip in few} & chosen
    val = [clip for clip in divided['val'] if clip.group not in moved]
    names = {clip.path for clip in val}
    return dict(train=[clip for clip in clips if clip.path not in names], val=val)


def split_folds(
    clips: Sequence[Clip], folds: int, *, val: float, seed: int
) -> list[dict[str, list[Clip]]]:
    """K-fold cross-validation: each clip is tested on in one fold, groups stay whole.

    Args:
        clips: The clips.
        folds: How many.
        val: Part of all clips to validate on, out of those that are not tested on.
        seed: Chooses among equal groups.

    Raises:
        ValueError: A class has fewer groups than folds.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        groups[clip.label].add(clip.group)
    fewest = min(groups, key=lambda label: (len(groups[label]), label))
    if len(groups[fewest]) < folds:
        what = 'clips' if all(clip.group == clip.path for clip in clips) else 'groups of clips'
        raise ValueError(
            f'--folds {folds}: class {fewest!r} has only {len(groups[fewest])} {what}, and each '
            f'fold tests on one: at most --folds {len(groups[fewest])}'
        )
    left, result = list(clips), []
    for fold in range(folds):
        tested = left
        if fold < folds - 1:
            parts = split_by_group(left, 1 / (folds - fold), seed)
            tested, left = parts['val'], parts['train']
        names = {clip.path for clip in tested}
        rest = [clip for clip in clips if clip.path not in names]
        part = val * len(clips) / max(1, len(rest))
        result.append(_checked({**_with_val(rest, part, seed), 'test': tested}))
    return result


def _checked(splits: dict[str, list[Clip]]) -> dict[str, list[Clip]]:
    for name in ('train', 'test'):
        if not splits[name]:
            raise ValueError(f'there are too few clips: none is left for {name}')
    trained = Counter(clip.label for clip in splits['train'])
    labels = sorted({clip.label for members in splits.values() for clip in members})
    for label in labels:
        if not trained[label]:
            raise ValueError(
                f'class {label!r} has no clip to train on: it needs at least two, of different '
                'groups'
            )
    if len(labels) < 2:
        raise ValueError(f'there is one class, {labels[0]!r}: a classifier needs two or more')
    return {name: members for name, members in splits.items() if members}
