"""Intervals of accuracies, against SciPy."""

import pytest
from scipy.stats import binomtest

from mmaction.evaluation.functional import wilson_interval


@pytest.mark.parametrize(('right', 'total'), [(0, 5), (5, 5), (1, 3), (18, 20), (950, 1000)])
def test_wilson_interval_equals_scipy(right, total):
    expected = binomtest(right, total).proportion_ci(method='wilson')
    assert wilson_interval(right, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_without_clips_nothing_is_known():
    assert wilson_interval(0, 0) == (0.0, 1.0)
