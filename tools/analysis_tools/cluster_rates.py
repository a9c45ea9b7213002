"""Rates of training processes of this machine, which `simulate_cluster.py --check` compares.

Each is measured by itself: a step without reading and without communication, by one process and
by several at once; an all-reduce of the gradients; reading a batch. `step_cost` also measures all
of them together, which is what the simulation predicts. Processes compute with one thread.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ['BATCH', 'READINGS', 'Cost', 'all_reduce_cost', 'gradient_bytes', 'reading_cost',
           'step_cost']  # fmt: skip

READINGS = {
    'none': 'clips are there',
    'waits': 'a clip takes 50 ms, as from a distant store',
    'decodes': 'a clip is decoded',
}
BATCH = 4
CLIPS = 40  # of the list that is read
STEPS = 24  # that are timed
_WARM_UP = 8  # steps, in which batches that were read ahead are used up
_WIDTH, _LAYERS, _ROWS = 1024, 4, 64  # of the model: a clip is 64 rows


class Cost(NamedTuple):
    """What something takes.

    Args:
        seconds: By the clock.
        cpu: Seconds of cores.
    """

    seconds: float
    cpu: float


def gradient_bytes() -> int:
    """Bytes of the gradients of the model."""
    return 4 * _LAYERS * (_WIDTH * _WIDTH + _WIDTH)


def write_clips(folder: Path) -> Path:
    """The list of the clips that are decoded."""
    import benchmark_shards

    listed: Path = benchmark_shards.write_videos(folder, CLIPS)
    return listed


def _dataset(reading: str, folder: Path) -> Any:
    """Clips (64, 1024) by a way of reading."""
    import benchmark_shards
    import torch

    from mmaction.datasets import VideoDataset

    videos: Any = None
    if reading == 'decodes':
        videos = VideoDataset(
            str(folder / 'list.txt'),
            benchmark_shards.PIPELINE,
            dict(video=str(folder)),
            decode_timeout=None,  # in the worker itself, whose time is then known
        )

    class Clips(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return BATCH * (_WARM_UP + STEPS)

        def __getitem__(self, index: int) -> torch.Tensor:
            if reading == 'waits':
                time.sleep(0.05)
            if videos is not None:
                pixels: torch.Tensor = videos[index % CLIPS]['inputs'].flatten()
                return pixels[: _ROWS * _WIDTH].view(_ROWS, _WIDTH) / 255
            return torch.ones(_ROWS, _WIDTH)

    return Clips()


def _loader(reading: str, folder: Path) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(
        _dataset(reading, folder), BATCH, num_workers=1, multiprocessing_context='fork'
    )


def _train(reading: str | None, folder: Path, communicate: bool) -> Cost:
    """Seconds of a step; without reading, all steps are of one batch."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    model: nn.Module = nn.Sequential(*(nn.Linear(_WIDTH, _WIDTH) for _ in range(_LAYERS)))
    if communicate and torch.distributed.get_world_size() > 1:
        model = DistributedDataParallel(model)
    batch = torch.ones(BATCH, _ROWS, _WIDTH)
    batches = iter([batch] * (_WARM_UP + STEPS) if reading is None else _loader(reading, folder))
    start = used = 0.0
    for step in range(_WARM_UP + STEPS):
        if step == _WARM_UP:
            # All at once: a process that starts late would be measured alone at its end.
            torch.distributed.barrier()
            start, used = time.perf_counter(), time.process_time()
        model.zero_grad()
        model(next(batches).flatten(0, 1)).square().mean().backward()
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    torch.distributed.barrier()
    return Cost(seconds / STEPS, cpu / STEPS)


def _all_reduce() -> Cost:
    """Seconds of an all-reduce of the gradients."""
    import torch

    gradients = torch.zeros(gradient_bytes() // 4)
    for _step in range(3):
        torch.distributed.all_reduce(gradients)
    start, used = time.perf_counter(), time.process_time()
    for _step in range(STEPS):
        torch.distributed.all_reduce(gradients)
    return Cost((time.perf_counter() - start) / STEPS, (time.process_time() - used) / STEPS)


def _read(reading: str, folder: Path) -> Cost:
    """Seconds of a clip from a loader with one worker; cores of the worker and of this process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    batches = iter(_loader(reading, folder))
    for _step in range(_WARM_UP):
        next(batches)
    start, used = time.perf_counter(), time.process_time()
    for _step in range(STEPS):
        next(batches)
    seconds, own = time.perf_counter() - start, time.process_time() - used
    del batches  # which waits for the worker: only then its time is known
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    timed, read = BATCH * STEPS, BATCH * (STEPS + _WARM_UP)
    return Cost(seconds / timed, own / timed + worker / read)


def _run(rank: int, processes: int, folder: str, work: Callable[[], Cost]) -> None:
    """What each process does."""
    import torch

    torch.set_num_threads(1)
    store = f'file://{folder}/store'
    torch.distributed.init_process_group('gloo', store, rank=rank, world_size=processes)
    Path(folder, f'cost-{rank}').write_text(json.dumps(work()))
    torch.distributed.destroy_process_group()


def _measure(work: Callable[[], Cost], processes: int) -> Cost:
    """The mean over so many processes that do the same at once."""
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        # Forked: importing everything again would take longer than what is measured.
        multiprocessing.start_processes(
            _run, args=(processes, folder, work), nprocs=processes, start_method='fork'
        )
        costs = [json.loads(Path(folder, f'cost-{r}').read_text()) for r in range(processes)]
    return Cost(*(sum(column) / processes for column in zip(*costs, strict=True)))


def step_cost(
    processes: int, videos: Path, reading: str | None = None, communicate: bool = False
) -> Cost:
    """A step of each of several processes at once.

    Args:
        processes: How many.
        videos: Folder in which `write_clips` has written.
        reading: One of `READINGS`; None reads nothing.
        communicate: Whether they train one model, by DistributedDataParallel.
    """
    return _measure(partial(_train, reading, videos, communicate), processes)


def all_reduce_cost(processes: int) -> Cost:
    """An all-reduce of the gradients between so many processes, which do nothing else."""
    return _measure(_all_reduce, processes)


def reading_cost(reading: str, videos: Path) -> Cost:
    """Reading a clip, by one process alone."""
    return _measure(partial(_read, reading, videos), 1)
