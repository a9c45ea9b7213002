import math

import pytest

from mmaction.engine.throughput import Throughput, throughput


@pytest.mark.parametrize(
    ('seconds', 'waited', 'computed', 'workers', 'expected'),
    [
        # 100 clips in 10 s, of which the model needs 2.5 s: it could take four times as many.
        (10, 7.5, 2.5, 2, Throughput(10, 40, 2, True, 8)),
        (10, 0.1, 9.9, 2, Throughput(10, 100 / 9.9, 2, False, 2)),
        # A GPU that computes all the time is not held up by a host that waits.
        (10, 6, 9.9, 4, Throughput(10, 100 / 9.9, 4, False, 4)),
        # Without workers reading and computing take turns.
        (10, 8, 2, 0, Throughput(12.5, 50, 0, True, 4)),
        (10, 2, 8, 0, Throughput(50, 12.5, 0, True, 1)),
        (10, 0, 10, 0, Throughput(math.inf, 10, 0, False, 0)),
    ],
)
def test_rates_and_workers(seconds, waited, computed, workers, expected):
    assert throughput(100, seconds, waited, computed, workers) == expected


def test_enough_workers_are_enough():
    """With that many, which read as fast each, the loader keeps up; with one less it does not."""
    for workers in range(1, 6):
        for computed in (0.5, 1.0, 2.0, 3.3):
            rates = throughput(100, 10, 10 - computed, computed, workers)
            each = rates.loader / workers
            assert rates.workers_enough * each >= rates.model * 0.999
            assert (rates.workers_enough - 1) * each < rates.model


def test_nothing_to_tell():
    assert throughput(0, 1, 0, 1, 2) is None
    assert throughput(8, 1, 0, 0, 2) is None


def test_text_says_what_bounds():
    slow, fast = throughput(100, 10, 7.5, 2.5, 2), throughput(100, 10, 0.1, 9.9, 2)
    assert str(slow) == (
        'throughput: loader 10 clips/s with 2 workers, model 40 clips/s: the loader bounds, 8 '
        'workers would be enough'
    )
    assert str(throughput(100, 10, 8, 8, 1)).endswith(
        '1 worker, model 12.5 clips/s: the loader bounds, 2 workers would be enough'
    )
    assert str(fast) == (
        'throughput: loader at least 10 clips/s with 2 workers, model 10.1 clips/s: the model '
        'bounds, more workers would not help'
    )
    assert str(throughput(100, 10, 2, 8, 0)) == (
        'throughput: reading 50 and the model 12.5 clips/s, which take turns: '
        '1 worker would be enough'
    )
