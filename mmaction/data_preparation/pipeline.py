"""The steps from an official annotation to lists."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmaction.datasets.numbered_frames import FrameFolder
from mmaction.utils.class_names import read_class_names
from mmaction.utils.cli import one_line, printable
from mmaction.utils.file_types import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from mmaction.utils.io import lock, write_lines
from mmaction.utils.plurals import how_many
from mmaction.utils.work_share import WorkShare

from .jobs import check_settings, find_files
from .matching import Taken, explain_uncut, match_rows, trim
from .media_index import MediaIndex, scan_frames, usual_frames
from .outcomes import KEPT, UNREADABLE, RowOutcome, left_out_reasons, summary_table, write_dropped
from .schema import MMACTION2, SORTED, Annotation, Label, Reader
from .share_records import Record, write_record
from .write_lists import check_list, list_format, list_name, list_text

__all__ = ['Request', 'prepare']

# Takes clips by their path (with their frames, if they are folders) and says, by path, which
# of them cannot be read, and why.
Check = Callable[[dict[str, FrameFolder | None]], dict[str, str]]


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Args:
        dataset: Name of the dataset, as on the command line.
        annotations: Folder of the official annotation.
        videos: Folder of the clips, from which the paths in the lists start.
        out: Folder of the lists.
        frames: Clips are folders of images.
        class_order: One of `Reader.orders`.
        classes: File of class names in the order of the labels, instead.
        trim: Cut segments out of whole videos.
        overwrite: Replace lists of another dataset or with other classes.
        workers: Videos to cut at the same time.
        timeout: Seconds for one.
        share: Which of the clips to check, where other machines check the others; the lists
            are written by a run without a share.
    """

    dataset: str
    annotations: Path
    videos: Path
    out: Path
    frames: bool = False
    class_order: str = MMACTION2
    classes: Path | None = None
    trim: bool = False
    overwrite: bool = False
    workers: int = 1
    timeout: float = 3600
    share: WorkShare = WorkShare()  # noqa: RUF009


def prepare(reader: Reader, request: Request, check: Check | None = None) -> None:
    """Read the annotation, find the clips, write the lists, and account for every row.

    The folder it writes to is locked meanwhile.

    Args:
        reader: Reads the dataset.
        request: What the user asks for.
        check: Reads the clips; None trusts them.

    Raises:
        FileNotFoundError: A folder or file of the annotation is missing.
        FileExistsError: There are lists that this did not write.
        ValueError: The annotation is malformed, no clip is there, or the lists that are
            there have other classes.
        BlockingIOError: Another tool writes to the folder.
    """
    share = request.share
    locked = request.out if share.is_all else request.out / f'share-{share.label}'
    with lock(locked, 'tool', is_file=not share.is_all):
        annotation = _read(reader, request)
        media = _index(annotation, reader, request)
        matched = _match(annotation, media, reader, request)
        _take_frames(matched, media, request)
        _try_lists(matched, request)
        if not share.is_all:
            _check_share(matched, check, request)
            return
        _check(matched, check)
        files = _write(annotation, matched.lists, request)
        _report(reader, annotation, matched, _unnamed(matched, media, request), request, files)


@dataclass(frozen=True)
class _Media:
    """What is on the disk.

    Args:
        clips: The videos, or the folders of frames.
        images: The images, if rows mean such.
        frames: The frames of each folder.
    """

    clips: MediaIndex
    images: MediaIndex
    frames: dict[str, FrameFolder]


@dataclass(frozen=True)
class _Matched:
    """What became of the rows of each list, and what there is to say of it."""

    lists: dict[str, list[RowOutcome]]
    notes: list[str]

    def kept(self) -> list[RowOutcome]:
        """The rows that are to be written."""
        return [one for rows in self.lists.values() for one in rows if one.status == KEPT]


def _read(reader: Reader, request: Request) -> Annotation:
    """The annotation, its classes in the order that is asked for."""
    if request.class_order not in reader.orders:
        raise ValueError(
            f'{reader.title} has no other order of classes than {", ".join(reader.orders)}'
        )
    # A file of names needs no order of the annotation's own.
    order = SORTED if request.classes else request.class_order
    annotation = _ordered(reader.read(request.annotations, order), request)
    _guard(annotation, request)
    return annotation


def _index(annotation: Annotation, reader: Reader, request: Request) -> _Media:
    """Look for clips.

    Raises:
        ValueError: There are none.
    """
    images = MediaIndex([], IMAGE_EXTENSIONS)
    frames: dict[str, FrameFolder] = {}
    if request.frames:
        frames = scan_frames(request.videos, request.out / _frames_journal(request))
        clips = MediaIndex(sorted(frames), (), reader.fold_case)
    else:
        files, _ = find_files(request.videos, VIDEO_EXTENSIONS)
        clips = MediaIndex(files, VIDEO_EXTENSIONS, reader.fold_case)
        if any(row.image for rows in annotation.lists.values() for row in rows):
            images = images.with_paths(find_files(request.videos, IMAGE_EXTENSIONS)[0])
    if not clips.paths and not images.paths:
        raise ValueError(_nothing_there(request))
    return _Media(clips, images, frames)


def _match(annotation: Annotation, media: _Media, reader: Reader, request: Request) -> _Matched:
    """Find the clip of each row, cut out of a whole video where that is asked for.

    Raises:
        ValueError: No row has one.
    """
    clips, notes = media.clips, list(annotation.notes)
    uncut: dict[tuple[str, ...], str] = {}
    if request.trim:
        clips, uncut = trim(annotation, request.videos, clips, request.workers, request.timeout)
    taken: Taken = {}
    lists = {
        name: match_rows(
            rows, media.images if rows[0].image else clips, reader, request.frames, notes, taken
        )
        for name, rows in annotation.lists.items()
        if rows and not (request.frames and rows[0].image)
    }
    explain_uncut(lists, clips, uncut)
    matched = _Matched(lists, notes)
    if not matched.kept():
        raise ValueError(_none_found(lists, clips, request))
    return matched


def _ordered(annotation: Annotation, request: Request) -> Annotation:
    """The annotation with its classes in the order that is asked for."""
    names = annotation.classes
    if request.classes is not None:
        if annotation.categories:
            raise ValueError('--classes cannot be given where labels are by category')
        wanted = read_class_names(request.classes)
        odd = sorted(set(wanted) ^ set(names))
        if odd or len(wanted) != len(names):
            what = f'{odd[0]!r} is in one of them only' if odd else 'a class is there twice'
            raise ValueError(f'{request.classes}: not the classes of the annotation: {what}')
        order = f'that of {request.classes}'
    elif request.class_order == SORTED and not annotation.categories:
        wanted, order = sorted(names), 'sorted names'
    else:
        wanted, order = names, annotation.order
    if wanted == names:
        return dataclasses.replace(annotation, order=order)
    place = {name: label for label, name in enumerate(wanted)}
    new = [place[name] for name in names]

    def renumber(label: Label) -> Label:
        if isinstance(label, int):
            return new[label]
        return tuple(sorted(new[one] for one in label)) if isinstance(label, tuple) else label

    lists = {
        name: [dataclasses.replace(row, label=renumber(row.label)) for row in rows]
        for name, rows in annotation.lists.items()
    }
    return dataclasses.replace(annotation, classes=wanted, lists=lists, order=order)


def _guard(annotation: Annotation, request: Request) -> None:
    """Refuse to replace lists that are not of this dataset, or have other classes."""
    for name in annotation.classes:
        if not name or one_line(name) != name:
            raise ValueError(f'the name of class {name!r} does not fit on a line')
    settings = request.out / 'prepare.json'
    old = request.out / 'classes.txt'
    if not settings.exists() and not request.overwrite:
        end = _with_frames('.json' if annotation.categories else '.txt', request)
        ours = [old, *(request.out / f'{name}{end}' for name in annotation.lists)]
        there = next((path for path in ours if path.exists()), None)
        if there is not None:
            raise FileExistsError(
                f'{request.out} holds lists that were made otherwise ({there.name}): give another '
                'folder, or --overwrite'
            )
    if old.exists() and not request.overwrite:
        text = ''.join(f'{name}\n' for name in annotation.classes)
        if old.read_bytes() != text.encode('utf-8', 'surrogateescape'):
            raise ValueError(
                f'{old} has other classes, or the same in another order, than asked for '
                f'({annotation.order}): give another folder, or --overwrite'
            )
    check_settings(settings, {'dataset': request.dataset}, request.overwrite)


def _nothing_there(request: Request) -> str:
    if request.frames:
        return f'there are no folders of images in {str(request.videos)!r}'
    return (
        f'there are no videos in {str(request.videos)!r}; for clips that are folders of images '
        'add --frames'
    )


def _none_found(lists: dict[str, list[RowOutcome]], index: MediaIndex, request: Request) -> str:
    outcomes = [one for part in lists.values() for one in part if not one.row.left_out]
    sought = ', '.join(repr(outcome.row.names[0]) for outcome in outcomes[:2]) or 'nothing'
    there = ', '.join(repr(path) for path in index.paths[:2])
    hint = ''
    if any('--trim' in outcome.reason for outcome in outcomes):
        hint = '; --trim cuts clips out of whole videos'
    return (
        f'no clip of the {len(outcomes)} of the annotation is in {str(request.videos)!r}: looked '
        f'for names such as {sought}, found {there}{hint}'
    )


def _take_frames(matched: _Matched, media: _Media, request: Request) -> None:
    """Give the rows their frames, drop faulty ones, note what a config has to say of them."""
    if not request.frames:
        return
    kept = matched.kept()
    usual, faults = usual_frames({outcome.path: media.frames[outcome.path] for outcome in kept})
    for outcome in kept:
        outcome.frames = media.frames[outcome.path]
        if outcome.path in faults:
            outcome.drop(UNREADABLE, faults[outcome.path])
    if usual is not None and (usual.template, usual.first) != ('img_{:05}.jpg', 1):
        name = usual.template.format(usual.first)
        matched.notes.append(
            f'frames are called {name!r} and so on: the dataset in the config needs '
            f'filename_tmpl={usual.template!r}, start_index={usual.first}'
        )
    for name, outcomes in matched.lists.items():
        if outcomes[0].row.segment is not None:
            matched.notes.append(
                f'{list_name(name, True, outcomes)} holds parts of folders: `with_offset=True`'
            )


def _try_lists(matched: _Matched, request: Request) -> None:
    """See that all lists can be written before clips are read for hours, or a list is replaced.

    Raises:
        ValueError: A path cannot stand in a list.
    """
    for name, outcomes in matched.lists.items():
        kept = [outcome for outcome in outcomes if outcome.status == KEPT]
        if kept:
            path = request.out / list_name(name, request.frames, outcomes)
            clips = [outcome.path for outcome in kept]
            check_list(path, list_text(kept), list_format(kept), clips)


def _check(matched: _Matched, check: Check | None) -> None:
    """Drop what cannot be read.

    Raises:
        ValueError: Nothing is left.
    """
    if check is not None:
        kept = matched.kept()
        bad = check({outcome.path: outcome.frames for outcome in kept})
        for outcome in kept:
            if outcome.path in bad:
                outcome.drop(UNREADABLE, bad[outcome.path])
    if not matched.kept():
        rows = (one for part in matched.lists.values() for one in part)
        first = next(one for one in rows if one.status == UNREADABLE)
        raise ValueError(f'no clip can be read, starting with {first.path!r}: {first.reason}')


def _frames_journal(request: Request) -> str:
    share = request.share
    return 'frames.jsonl' if share.is_all else f'frames-{share.label}.jsonl'


def _check_share(matched: _Matched, check: Check | None, request: Request) -> None:
    """Check a share of the clips, and write down that it is done."""
    clips = {outcome.path: outcome.frames for outcome in matched.kept()}
    bad = {} if check is None else check(clips)
    mine = request.share.of(list(clips))
    write_record(request.out, Record('prepare', request.share, len(clips), mine, bad))
    checked = f'{how_many(len(mine), "clip")} checked'
    print(f'share {request.share.label}: {checked}, {len(bad)} cannot be read')


def _write(
    annotation: Annotation, lists: dict[str, list[RowOutcome]], request: Request
) -> list[str]:
    """Write classes, lists and what was dropped; the names of the files."""
    out = request.out
    write_lines(out / 'classes.txt', annotation.classes)
    files = ['classes.txt']
    if annotation.categories:
        write_lines(out / 'categories.json', [json.dumps(annotation.categories, indent=1)])
        files.append('categories.json')
    for name, outcomes in lists.items():
        kept = [outcome for outcome in outcomes if outcome.status == KEPT]
        path = out / list_name(name, request.frames, outcomes)
        if kept:
            write_lines(path, list_text(kept))
            files.append(path.name)
        else:
            path.unlink(missing_ok=True)
    dropped = _with_frames('dropped.tsv', request)
    if write_dropped(out / dropped, lists):
        files.append(dropped)
    return files


def _with_frames(name: str, request: Request) -> str:
    stem, extension = name.split('.')
    return f'{stem}_rawframes.{extension}' if request.frames else name


def _unnamed(matched: _Matched, media: _Media, request: Request) -> list[str]:
    """A note of clips that are in no row."""
    used = {one.path for outcomes in matched.lists.values() for one in outcomes if one.path}
    unnamed = len({*media.clips.paths, *media.images.paths} - used)
    if not unnamed:
        return []
    belong = 'belongs' if unnamed == 1 else 'belong'
    return [f'{how_many(unnamed, "clip")} in {request.videos} {belong} to no row of the annotation']


def _report(
    reader: Reader,
    annotation: Annotation,
    matched: _Matched,
    more_notes: list[str],
    request: Request,
    files: list[str],
) -> None:
    """Print what was done, and write it to a file."""
    lists = matched.lists
    number = len(annotation.classes)
    text = [
        f'{reader.title}: {number} classes (official: {reader.num_classes}), in the order of '
        f'{annotation.order}',
        *summary_table(lists, reader.official),
        *left_out_reasons(lists),
        *matched.notes,
        *more_notes,
    ]
    name = _with_frames('summary.txt', request)
    write_lines(request.out / name, text)
    for line in text:
        print(printable(line))
    empty = [
        name for name, outcomes in lists.items() if not any(o.status == KEPT for o in outcomes)
    ]
    print(f'{printable(request.out)}: {", ".join([*files, name])}')
    if empty:
        print(f'not written, as no clip is left: {", ".join(empty)}', file=sys.stderr)
    if number != reader.num_classes:
        print(
            f'warning: {number} classes, official are {reader.num_classes}: is this another '
            'edition of the dataset, or a part of the annotation?',
            file=sys.stderr,
        )
