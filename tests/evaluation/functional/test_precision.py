import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mmaction.evaluation import mean_average_precision, mmit_mean_average_precision


@st.composite
def multi_label(draw):
    classes, samples = draw(st.integers(2, 6)), draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # One decimal, so that many scores are equal.
    scores = rng.random((samples, classes)).round(draw(st.integers(0, 1)))
    return scores, (rng.random((samples, classes)) < 0.4).astype(int)


@settings(deadline=None)
@given(multi_label())
def test_mean_average_precision_equals_sklearn(case):
    scores, labels = case
    named = labels.any(0)
    ours = mean_average_precision(list(scores), list(labels))
    if not named.any():
        assert np.isnan(ours)
    else:
        theirs = average_precision_score(labels[:, named], scores[:, named])
        assert ours == pytest.approx(theirs)


@settings(deadline=None)
@given(multi_label())
def test_mmit_equals_sklearn(case):
    scores, labels = case
    labels[:, 0] = 1
    theirs = np.mean([average_precision_score(*pair) for pair in zip(labels, scores, strict=True)])
    assert mmit_mean_average_precision(list(scores), list(labels)) == pytest.approx(theirs)


def test_by_hand():
    # Class 0: found first and third of three; class 1: found second; class 2 has no positive.
    scores = np.array([[0.9, 0.8, 0.1], [0.7, 0.3, 0.5], [0.5, 0.9, 0.2]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert mean_average_precision(scores, labels) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert mmit_mean_average_precision(scores[[0, 2]], labels[[0, 2]]) == pytest.approx(
        (1 + 1 / 2) / 2
    )


def test_tied_scores_are_grouped():
    assert mean_average_precision([[-np.inf], [-np.inf]], [[1], [0]]) == 0.5


def test_unpredicted_clips_never_match():
    scores = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])
    labels = np.array([[1, 0], [1, 0], [0, 1]])
    assert mean_average_precision(scores, labels) == pytest.approx((0.5 + 1) / 2)
    assert mmit_mean_average_precision(scores, labels) == pytest.approx(2 / 3)
    assert mean_average_precision(np.full((2, 2), np.nan), np.eye(2)) == 0
    scores[1, 0] = 0.5  # a NaN is enough
    assert mean_average_precision(scores, labels) == pytest.approx((0.5 + 1) / 2)
    assert mmit_mean_average_precision(scores, labels) == pytest.approx(2 / 3)


@pytest.mark.parametrize('function', [mean_average_precision, mmit_mean_average_precision])
@pytest.mark.parametrize(
    ('scores', 'labels', 'message'),
    [
        ([[0.1, 0.9]], [1], 'the same shape'),
        ([[0.1, 0.9]], [[0, 2]], 'sample 0 holds other values'),
        ([[0.1, 0.9], [0.2, 0.3]], [[0, 1], [1]], 'vectors of one length'),
        ([[0.1, 0.9], [0.2]], [[0, 1], [1, 0]], 'as many scores'),
    ],
)
def test_bad_input_is_named(function, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        function(scores, labels)


def test_mmit_of_a_sample_without_a_label_is_nan_and_named():
    with pytest.warns(
        UserWarning, match='1 of 2 samples have no label, the first of them sample 1'
    ):
        assert np.isnan(mmit_mean_average_precision(np.zeros((2, 2)), [[1, 0], [0, 0]]))
