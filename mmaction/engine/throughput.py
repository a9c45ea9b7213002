"""Whether the loader or the model bounds a training, and how many workers would be enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmaction.utils.plurals import how_many

__all__ = ['Throughput', 'throughput']

BOUND = 0.05
"""Share of the time that is spent waiting for data above which the loader bounds."""


@dataclass(frozen=True)
class Throughput:
    """Clips per second of one rank.

    Attributes:
        loader: What the loader gives; where the model bounds, at least that.
        model: What the model would take if it never waited for data.
        workers: Worker processes of the loader.
        loader_bounds: Whether the model waits for the loader.
        workers_enough: Workers of this loader that would keep up with the model.
    """

    loader: float
    model: float
    workers: int
    loader_bounds: bool
    workers_enough: int

    def __str__(self) -> str:
        if not self.workers:
            text = f'throughput: reading {self.loader:.3g} and the model {self.model:.3g} clips/s'
            text += ', which take turns'
            if not self.loader_bounds:
                return text
            return f'{text}: {how_many(self.workers_enough, "worker")} would be enough'
        least = '' if self.loader_bounds else 'at least '
        workers = how_many(self.workers, 'worker')
        text = f'throughput: loader {least}{self.loader:.3g} clips/s with {workers}, '
        text += f'model {self.model:.3g} clips/s: '
        if not self.loader_bounds:
            return f'{text}the model bounds, more workers would not help'
        return f'{text}the loader bounds, {how_many(self.workers_enough, "worker")} would be enough'


def throughput(
    clips: int, seconds: float, waited: float, computed: float, workers: int
) -> Throughput | None:
    """The rates of some steps; None where there is nothing to tell.

    Args:
        clips: Clips of these steps.
        seconds: How long they took in all.
        waited: How long of it the training process waited for data.
        computed: How long the model computed.
        workers: Worker processes; 0 where the training process reads for itself.
    """
    if clips <= 0 or computed <= 0 or seconds <= 0 or waited < 0:
        return None
    model = clips / computed
    if not workers:
        # Reading and computing take turns, so any reading is time lost.
        loader = clips / waited if waited else math.inf
        enough = max(1, math.ceil(model / loader)) if waited else 0
        return Throughput(loader, model, 0, waited / seconds > BOUND, enough)
    loader = clips / seconds
    # A GPU that computes all the time waits for nothing, whatever its host does.
    bounds = waited / seconds > BOUND and computed / seconds < 1 - BOUND
    enough = math.ceil(round(workers * model / loader, 6)) if bounds else workers
    return Throughput(loader, model, workers, bounds, enough)
