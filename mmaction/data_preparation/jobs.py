"""What the tools that go through folders of clips share.

Child processes that a broken file cannot stop, the search for clips in a folder,
and all frames of a video.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mmaction.errors import UnreadableVideoError
from mmaction.utils.cli import one_line, printable
from mmaction.utils.file_types import VIDEO_EXTENSIONS
from mmaction.utils.io import lock, remove_partials, write_lines
from mmaction.utils.isolated_call import CallCrashed, CallTimedOut, IsolatedCall, isolated_call
from mmaction.utils.remote import exists, is_remote, read_bytes, redacted
from mmaction.utils.work_share import WorkShare

if TYPE_CHECKING:
    import numpy as np

    from mmaction.datasets.decoders import VideoReader

__all__ = [
    'JobResult',
    'check_folder',
    'check_settings',
    'check_targets',
    'find_files',
    'find_videos',
    'find_work',
    'frame_chunks',
    'is_done',
    'note_left_out',
    'output_folder',
    'report_failures',
    'run_jobs',
]

_CHUNK_BYTES = 1 << 28

Job = TypeVar('Job')


class JobResult(NamedTuple):
    """What came of one job.

    Args:
        job: The job.
        result: What the function returned.
        reason: Why its file could not be read; None if it could.
    """

    job: Any
    result: Any
    reason: str | None


def run_jobs(
    function: Callable[[Job], Any],
    jobs: Sequence[Job],
    *,
    workers: int,
    timeout: float,
    title: str,
    ray: str | None = None,
) -> Iterator[JobResult]:
    """Call a function on each job in child processes, with a progress bar.

    A job that crashes its process or takes too long is one that failed; the
    others go on. When the caller stops early, running jobs are killed.

    Args:
        function: Called with a job; raises `UnreadableVideoError` for a bad file. Off Linux it
            has to be one that can be pickled.
        jobs: Arguments, one for each call.
        workers: Calls at the same time.
        timeout: Seconds that one call may take.
        title: What stands before the progress bar.
        ray: Address of a Ray cluster that does the work in the place of `workers` of this
            machine. All its nodes have to see the files under the same paths.

    Yields:
        The outcomes, in the order in which they come.

    Raises:
        Exception: Any other error of the function ends the run.
    """
    from tqdm import tqdm

    if not jobs:
        return
    if ray is not None:
        yield from _run_on_ray(function, jobs, timeout, title, ray)
        return
    calls = [isolated_call(function, timeout) for _ in range(min(workers, len(jobs)))]
    for call in calls:
        # From this thread, before there are others: children of it end with this process.
        call.start()
    free: queue.SimpleQueue[IsolatedCall] = queue.SimpleQueue()
    for call in calls:
        free.put(call)

    def run(job: Job) -> JobResult:
        call = free.get()
        try:
            return _outcome(call, job)
        finally:
            free.put(call)

    # The threads only wait for their children.
    pool = ThreadPoolExecutor(len(calls))
    try:
        futures = [pool.submit(run, job) for job in jobs]
        done = as_completed(futures)
        for future in tqdm(done, total=len(jobs), desc=title, unit='file', mininterval=0.5):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for call in calls:
            # The waiting thread may have seen the end of the child first.
            with suppress(ChildProcessError):
                call.close()
        pool.shutdown()


_AT_ONCE = 1000
"""Jobs that Ray is given before earlier ones are done: millions would fill its memory."""


def _run_on_ray(
    function: Callable[[Job], Any], jobs: Sequence[Job], timeout: float, title: str, address: str
) -> Iterator[JobResult]:
    """`run_jobs` on a Ray cluster, which repeats the jobs of a node that is lost elsewhere."""
    try:
        import ray
    except ImportError as error:
        raise ImportError(f'--ray needs Ray ({error}): pip install "dualformer[ray]"') from None
    from tqdm import tqdm

    def run(job: Job) -> JobResult:
        call = isolated_call(function, timeout)
        try:
            return _outcome(call, job)
        finally:
            with suppress(ChildProcessError):
                call.close()

    own = not ray.is_initialized()
    if own:
        ray.init(address=address, log_to_driver=False)
    try:
        # A job that is done twice writes the same file, whole, twice.
        task = ray.remote(num_cpus=1, max_retries=10)(run)
        left, running = iter(jobs), [task.remote(job) for job in jobs[:_AT_ONCE]]
        for _ in range(len(running)):
            next(left)
        with tqdm(total=len(jobs), desc=title, unit='file', mininterval=0.5) as bar:
            while running:
                (done, *_), running = ray.wait(running)
                running += [task.remote(job) for job in itertools.islice(left, 1)]
                bar.update()
                yield JobResult(*ray.get(done))
    finally:
        if own:
            ray.shutdown()


def _outcome(call: IsolatedCall, job: object) -> JobResult:
    """What comes of one job in a child process."""
    try:
        return JobResult(job, call(job), None)
    except UnreadableVideoError as error:
        return JobResult(job, None, one_line(error.reason or str(error)))
    except (CallTimedOut, CallCrashed) as error:
        return JobResult(job, None, f'reading it {error}')


def check_folder(folder: Path) -> None:
    """Raise `FileNotFoundError` unless there is such a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {str(folder)!r}')


@contextmanager
def output_folder(folder: Path, share: WorkShare = WorkShare()) -> Iterator[None]:  # noqa: B008
    """Write to a folder alone, without what killed processes have left half-written in it.

    With a share, others write to it as well: only their share is locked, and half-written
    files stay until the shares are merged.

    Raises:
        BlockingIOError: Another tool writes to it, or to this share.
        ValueError: It is not on this machine.
    """
    if is_remote(folder):
        raise ValueError(
            f'{redacted(folder)}: this tool writes to a local or mounted folder; "mmaction pack" '
            'copies clips to a store'
        )
    if not share.is_all:
        with lock(folder / f'share-{share.label}', 'tool', is_file=True):
            yield
        return
    with lock(folder, 'tool'):
        remove_partials(folder, recursive=True)
        try:
            yield
        finally:
            remove_partials(folder, recursive=True)


def find_files(
    folder: Path, extensions: Sequence[str], without: Sequence[Path] = ()
) -> tuple[list[str], dict[str, int]]:
    """Files under a folder with a progress bar; hidden ones are left out, links followed.

    Args:
        folder: Where to look.
        extensions: What their names may end with, in small letters.
        without: Folders not to look into.

    Returns:
        Sorted paths relative to `folder`, with '/' between their parts, and how many
        other files there are of each extension.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    from tqdm import tqdm

    check_folder(folder)
    found: list[str] = []
    others: dict[str, int] = {}
    # Links may lead in a circle.
    seen = {os.path.realpath(path) for path in without}
    with tqdm(desc='look for files', unit='file', mininterval=0.5) as bar:
        for root, folders, files in os.walk(folder, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith('.')]
            start = Path(root).relative_to(folder)
            for name in files:
                extension = os.path.splitext(name)[1].lower()
                if name.startswith('.'):
                    continue
                if extension in extensions:
                    found.append((start / name).as_posix())
                    bar.update()
                else:
                    others[extension] = others.get(extension, 0) + 1
    return sorted(found), others


def kinds_of(others: Mapping[str, int]) -> str:
    """Files that were left out, as `find_files` counts them, in words."""
    return ', '.join(f'{count} {name or "without extension"}' for name, count in others.items())


def note_left_out(others: Mapping[str, int]) -> None:
    """Tell which files of a folder are not taken for clips; lists and notes of clips are none."""
    beside = ('.txt', '.csv', '.tsv', '.json', '.jsonl')
    left = {name: count for name, count in others.items() if name not in beside}
    if left:
        print(f'note: other files were left out: {kinds_of(left)}', file=sys.stderr)


def find_videos(folder: Path, without: Sequence[Path] = ()) -> list[str]:
    """The videos under a folder, as `find_files` gives them; other files are noted.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no videos.
    """
    found, others = find_files(folder, VIDEO_EXTENSIONS, without)
    if not found:
        there = f' (found: {kinds_of(others)})' if others else ''
        raise ValueError(f'there are no videos in {str(folder)!r}{there}')
    note_left_out(others)
    return found


def find_work(
    folder: Path,
    out: Path,
    suffix: str,
    overwrite: bool,
    share: WorkShare = WorkShare(),  # noqa: B008
) -> tuple[list[tuple[str, str]], int]:
    """The videos under a folder, and what each is to become in another.

    Args:
        folder: Folder of the videos.
        out: Folder to write to; it may lie in `folder`.
        suffix: What the extension of a video becomes.
        overwrite: Do what is done as well.
        share: Which of the videos.

    Returns:
        (video, target) for each video whose target is missing or older than it,
        and the number of the others.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no videos, it is `out`, or two would have one target.
    """
    if out.resolve() == folder.resolve():
        raise ValueError(f'{out} holds the videos themselves: give another folder to write to')
    names = find_videos(folder, without=[out])
    targets: dict[str, str] = {}
    for name in names:
        target = os.path.splitext(name)[0] + suffix
        if target in targets:
            raise ValueError(
                f'{targets[target]!r} and {name!r} would both become {target!r}: rename one'
            )
        targets[target] = name
    # By the place among all, which stays the same while others finish theirs.
    mine = share.of(list(targets.items()))
    work = [(str(folder / name), str(out / target)) for target, name in mine]
    left = [pair for pair in work if overwrite or not is_done(*pair)]
    return left, len(work) - len(left)


def is_done(source: str, target: str) -> bool:
    """Whether a file is there, and no older than what it is made of."""
    try:
        return Path(target).stat().st_mtime_ns >= Path(source).stat().st_mtime_ns
    except FileNotFoundError:
        return False


def check_targets(file: Path, jobs: Sequence[tuple[str, str]], done: int, overwrite: bool) -> None:
    """Refuse to replace what a tool has not made.

    Args:
        file: Its settings, which it writes to a folder that it has written to.
        jobs: As `find_work` returns them.
        done: As `find_work` returns it.
        overwrite: Whether the user asked for it.

    Raises:
        FileExistsError: Targets are there, and the settings are not.
    """
    there = [target for _, target in jobs if os.path.lexists(target)]
    if (there or done) and not (overwrite or file.exists()):
        what = repr(there[0]) if there else f'what {str(file.parent)!r} holds'
        raise FileExistsError(
            f'{what} was not made by this tool: give another folder, or --overwrite to replace it'
        )


def check_settings(file: str | Path, settings: dict[str, Any], overwrite: bool | None) -> None:
    """Write settings beside what is made with them, here or elsewhere.

    Args:
        file: Where they stand.
        settings: What is made.
        overwrite: Whether what is there is made anew; None where the command has no such option.

    Raises:
        ValueError: What is there was made with others.
    """
    if exists(file) and not overwrite:
        try:
            found = json.loads(read_bytes(file, fresh=True))
        except ValueError:
            found = None
        if found != settings:
            anew = 'remove this one' if overwrite is None else '--overwrite'
            raise ValueError(
                f'{redacted(os.path.dirname(file))} was made with {_unlike(found, settings)}, '
                f'asked for is {_unlike(settings, found)}: ask for the same to go on with it, give '
                f'another folder, or {anew} to begin anew'
            )
    write_lines(file, [json.dumps(settings)])


def _unlike(settings: Any, others: Any) -> Any:
    """The settings that are others, or that only one side has: an earlier version noted fewer."""
    if not isinstance(settings, dict) or not isinstance(others, dict):
        return settings
    keys = [*settings, *(key for key in others if key not in settings)]
    return {key: settings.get(key) for key in keys if settings.get(key) != others.get(key)}


def frame_chunks(reader: VideoReader) -> Iterator[np.ndarray]:
    """All frames of a video in order, as uint8 arrays (N, H, W, 3) of at most 64 frames.

    Raises:
        UnreadableVideoError: A frame cannot be decoded.
    """
    size = max(1, min(64, _CHUNK_BYTES // reader.get_batch([0]).nbytes))
    for start in range(0, len(reader), size):
        yield reader.get_batch(range(start, min(start + size, len(reader))))


def report_failures(failures: dict[str, str], path: Path, what: str) -> None:
    """Write `file<TAB>reason` lines to `path`, print the first; without failures remove it."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    lines = ((name.replace('\n', '\\n'), reason) for name, reason in sorted(failures.items()))
    write_lines(path, ('\t'.join(line) for line in lines))
    print(f'{len(failures)} {what}, listed in {printable(path)}:', file=sys.stderr)
    for name, reason in sorted(failures.items())[:20]:
        print(f'  {printable(name)}: {reason}', file=sys.stderr)
    if len(failures) > 20:
        print(f'  and {len(failures) - 20} more', file=sys.stderr)
