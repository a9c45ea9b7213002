"""Clips that wait, are worked on, or are done; each in a folder of its own that goes away."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from .uploads import Limits, UploadError, VideoFacts

__all__ = ['Busy', 'Check', 'Explain', 'Job', 'Jobs']

Progress = Callable[[float, str], None]
Explain = Callable[[Path, 'Path | None', Progress], dict[str, Any]]
"""(video, folder for images or None for scores alone, progress) -> what the page shows."""
Check = Callable[[Path, str], VideoFacts]
"""(video, what the user calls it) -> facts; raises `UploadError`."""

KEPT = 12  # results that are kept at most
LIFETIME = 900.0  # seconds until a result that nobody asks for is dropped
LOOK_EVERY = 30.0  # seconds between two looks at what is old
_PREFIX = 'dualformer-web-'  # of the temporary folders of servers


class Busy(Exception):  # noqa: N818
    """Too many clips are waiting or being uploaded, in a sentence for the page."""


@dataclass
class Job:
    """One clip on its way.

    Attributes:
        name: What the user calls it.
        folder: Its own folder.
        video: The file; an upload in the folder, or an example outside, which stays.
        is_upload: Whether the file is to be removed.
        scores_only: Whether the result has no images.
        state: 'uploading', 'waiting', 'working', 'done' or 'failed'.
        step: What is being done, for the page.
        progress: 0 to 1.
        result: What the page shows.
        error: A sentence on what went wrong.
    """

    id: str
    name: str
    folder: Path
    video: Path
    is_upload: bool = True
    scores_only: bool = False
    state: str = 'uploading'
    step: str = 'waiting'
    progress: float = 0.0
    result: dict[str, Any] | None = None
    error: str | None = None
    touched: float = field(default_factory=time.monotonic)

    def public(self) -> dict[str, Any]:
        """What the page is told."""
        keys = ('state', 'name', 'step', 'progress', 'result', 'error')
        return {key: getattr(self, key) for key in keys}


class Jobs:
    """One worker that takes clips in turn, for the model can do one at a time.

    Everything is below one temporary folder, which `close` removes. An upload is
    removed as soon as it was worked on; results when the page lets go of them,
    after a quarter of an hour, or when there are too many. Folders that killed
    servers left are removed at the start.

    Args:
        explain: Does the work.
        check: Looks into a file before.
        limits: What is taken.
    """

    def __init__(self, explain: Explain, check: Check, limits: Limits) -> None:
        self.explain, self.check, self.limits = explain, check, limits
        remove_leftovers()
        self._root_lock: int | None
        self.root, self._root_lock = locked_folder()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def open(self, name: str, example: Path | None = None, scores_only: bool = False) -> Job:
        """A new job; its file may have to be written before `start`."""
        self._clean(KEPT - 1)
        key = secrets.token_urlsafe(12)
        folder = self.root / key
        folder.mkdir()
        video = example or folder / 'upload.video'
        job = Job(key, name, folder, video, example is None, scores_only)
        with self._lock:
            self._jobs[key] = job
        return job

    def start(self, *jobs: Job) -> None:
        """Let jobs wait for their turn: all of them, or none.

        Raises:
            Busy: Too many are waiting.
        """
        with self._lock:
            self._refuse_if_full(len(jobs))
            for job in jobs:
                job.state = 'waiting'
        for job in jobs:
            self._queue.put(job)

    def refuse_if_full(self) -> None:
        """Say so before a clip is sent in vain.

        Raises:
            Busy: Too many are waiting.
        """
        with self._lock:
            self._refuse_if_full(1)

    def _unfinished(self) -> int:
        # What is still being uploaded takes no place: a slow sender keeps nobody out.
        return sum(job.state in ('waiting', 'working') for job in self._jobs.values())

    def _refuse_if_full(self, more: int) -> None:
        if self._unfinished() + more > self.limits.waiting:
            raise Busy('Too many clips are waiting; please try again in a minute.')

    @property
    def unfinished(self) -> int:
        """How many clips are waiting or being worked on."""
        with self._lock:
            return self._unfinished()

    @property
    def is_alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread.is_alive()

    def get(self, key: str) -> Job | None:
        """The job of an id, if it is still there."""
        job = self._jobs.get(key)
        if job is not None:
            job.touched = time.monotonic()
        return job

    def before(self, job: Job) -> int:
        """How many clips come before this one."""
        with self._lock:
            waiting = [other for other in self._jobs.values() if other.state == 'waiting']
        return waiting.index(job) if job in waiting else 0

    def image(self, job: Job, name: str) -> Path | None:
        """An image of a result; only files that lie in its own folder under their own name."""
        if job.state != 'done':
            return None
        return next((path for path in job.folder.iterdir() if path.name == name), None)

    def drop(self, key: str) -> None:
        """Forget a job and all its files."""
        with self._lock:
            job = self._jobs.pop(key, None)
        if job is not None and job.state != 'working':  # else the worker removes it
            shutil.rmtree(job.folder, ignore_errors=True)

    def _clean(self, most: int) -> None:
        """Drop what is old, and the oldest of more than `most`."""
        now = time.monotonic()
        ended = [job for job in list(self._jobs.values()) if job.state in ('done', 'failed')]
        ended.sort(key=lambda job: job.touched)
        old = [job for job in ended if now - job.touched > LIFETIME]
        for key in {job.id for job in [*old, *ended[: max(len(ended) - most, 0)]]}:
            self.drop(key)

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=LOOK_EVERY)
            except Empty:
                self._clean(KEPT)
                continue
            if job is None:
                return
            if job.id in self._jobs:
                self._do(job)
            if job.id not in self._jobs:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _do(self, job: Job) -> None:
        def progress(share: float, step: str) -> None:
            job.progress, job.step = share, step

        job.state = 'working'
        try:
            progress(0.03, 'looking into the file')
            facts = asdict(self.check(job.video, job.name))
            result = self.explain(job.video, None if job.scores_only else job.folder, progress)
            # Decoded frames are upright, the stored ones that `check` knows may be not.
            job.result = {**result, 'video': {**facts, **result.get('video', {})}}
            job.state, job.progress = 'done', 1.0
        except (ValueError, OSError) as error:
            job.error, job.state = self._sentence(error, job), 'failed'
        except Exception as error:  # the page goes on, the terminal says what happened
            traceback.print_exc()
            job.error = f'{job.name} could not be worked on ({type(error).__name__}).'
            job.state = 'failed'
        finally:
            if job.is_upload:
                job.video.unlink(missing_ok=True)

    def _sentence(self, error: Exception, job: Job) -> str:
        """What went wrong, without the server's own paths."""
        text = str(error).replace(str(job.video), job.name).replace(str(self.root), '')
        if not isinstance(error, UploadError):
            text = f'{job.name} cannot be read as a video: {text.removeprefix(job.name + ": ")}'
        return text if text.endswith('.') else f'{text}.'

    def close(self) -> None:
        """Stop the worker and remove every file."""
        self._jobs.clear()
        self._queue.put(None)
        shutil.rmtree(self.root, ignore_errors=True)
        self._thread.join(timeout=20)
        shutil.rmtree(self.root, ignore_errors=True)
        lock, self._root_lock = self._root_lock, None
        if lock is not None:
            os.close(lock)


def locked_folder() -> tuple[Path, int | None]:
    """A new temporary folder, and the descriptor that locks it while this process lives.

    It gets the name by which `remove_leftovers` knows it only when it is locked. Windows has no
    locks of folders.
    """
    hidden = Path(tempfile.mkdtemp(prefix=f'.{_PREFIX}'))
    lock = None
    if sys.platform != 'win32':
        import fcntl

        lock = os.open(hidden, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return hidden.rename(hidden.with_name(hidden.name[1:])), lock


def remove_leftovers() -> None:
    """Remove the folders of servers that were killed: those that nobody holds locked."""
    if sys.platform == 'win32':
        return
    import fcntl

    for folder in Path(tempfile.gettempdir()).glob(f'{_PREFIX}*'):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # somebody else's, or gone
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # a living server holds it
            pass
        finally:
            os.close(lock)
