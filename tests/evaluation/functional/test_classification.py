import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mmaction.evaluation import (
    confusion_matrix,
    mean_class_accuracy,
    top_k_accuracy,
    top_k_classes,
)

SCORES = [[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.35, 0.25]]
LABELS = [1, 1, 2, 2]


@st.composite
def predictions(draw):
    """Scores of few values, so that many are equal, and labels."""
    classes = draw(st.integers(2, 6))
    samples = draw(st.integers(1, 12))
    value = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    scores = draw(
        st.lists(
            st.lists(value, min_size=classes, max_size=classes),
            min_size=samples,
            max_size=samples,
        )
    )
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    return np.array(scores), np.array(labels)


def test_top_k_accuracy_small_example():
    assert top_k_accuracy(SCORES, LABELS, (1, 2, 3, 9)) == [0.5, 0.75, 1.0, 1.0]
    assert top_k_accuracy(SCORES, LABELS) == [0.5]


@settings(deadline=None)
@given(predictions(), st.integers(1, 7))
def test_top_k_equals_a_sorted_list(case, k):
    scores, labels = case
    right = 0
    for row, label in zip(scores, labels, strict=True):
        best = sorted(range(len(row)), key=lambda i: (row[i], i), reverse=True)[:k]
        right += label in best
    assert top_k_accuracy(scores, labels, (k,)) == [right / len(labels)]


def test_top_k_equals_sklearn_without_ties():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 9)), rng.integers(0, 9, 200)
    ours = top_k_accuracy(list(scores), list(labels), (1, 3, 5))
    theirs = [sk.top_k_accuracy_score(labels, scores, k=k, labels=range(9)) for k in (1, 3, 5)]
    assert ours == pytest.approx(theirs)


def test_mean_class_accuracy_equals_sklearn_where_all_classes_are_labeled():
    rng = np.random.default_rng(1)
    scores, labels = (
        rng.normal(size=(90, 5)),
        np.concatenate([np.arange(5), rng.integers(0, 5, 85)]),
    )
    expected = sk.balanced_accuracy_score(labels, scores.argmax(1))
    assert mean_class_accuracy(scores, labels) == pytest.approx(expected)


def test_mean_class_accuracy_counts_classes_that_are_only_predicted():
    # Class 1: 1 of 2, class 2: 1 of 2, class 0 is predicted but has no sample.
    assert mean_class_accuracy(SCORES, LABELS) == pytest.approx((0 + 0.5 + 0.5) / 3)


@settings(deadline=None)
@given(predictions())
def test_mean_class_accuracy_equals_the_confusion_matrix(case):
    scores, labels = case
    matrix = confusion_matrix(scores.argmax(1), labels, normalize='true')
    assert mean_class_accuracy(scores, labels) == pytest.approx(np.diag(matrix).mean())


def test_unpredicted_rows_count_as_wrong():
    scores = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8], [np.nan, 1.0]])
    labels = [0, 0, 1, 1]
    assert top_k_accuracy(scores, labels, (1, 2)) == [0.5, 0.5]
    assert mean_class_accuracy(scores, labels) == 0.5
    assert mean_class_accuracy(scores[[1, 3]], [0, 1]) == 0.0


def test_top_k_classes():
    scores = np.eye(4)[[0, 0, 1, 3, 2, 2, 3, 3]]
    labels = [0, 0, 1, 1, 2, 3, 3, 3]  # accuracies 1, 1/2, 1, 2/3
    assert top_k_classes(scores, labels, 2) == [(2, 1.0), (0, 1.0)]
    assert top_k_classes(scores, labels, 2, 'inaccurate') == [(1, 0.5), (3, pytest.approx(2 / 3))]
    assert len(top_k_classes(scores, labels, 99)) == 4
    # Many equal ones: the higher class first among the best, the lower first among the worst.
    every = np.arange(100)
    assert [c for c, _ in top_k_classes(np.eye(100), every, 100)] == list(every[::-1])
    assert [c for c, _ in top_k_classes(np.eye(100), every, 100, 'inaccurate')] == list(every)


def test_top_k_classes_names_the_class_where_others_are_absent():
    assert top_k_classes(np.eye(9)[[7, 7, 3]], [7, 7, 3], 1) == [(7, 1.0)]


@pytest.mark.filterwarnings('ignore:A single label')
@settings(deadline=None)
@given(predictions(), st.sampled_from([None, 'true', 'pred', 'all']))
def test_confusion_matrix_equals_sklearn(case, normalize):
    scores, labels = case
    ours = confusion_matrix(scores.argmax(1), labels, normalize)
    theirs = sk.confusion_matrix(labels, scores.argmax(1), normalize=normalize)
    np.testing.assert_allclose(ours, theirs)
    assert np.issubdtype(ours.dtype, np.integer) == (normalize is None)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: top_k_accuracy([[1, 2], [1]], [0, 0]), r'found \[1, 2\] scores'),
        (lambda: top_k_accuracy([0.1, 0.9], [0, 1]), r'shape \(samples, classes\).*not \(2,\)'),
        (lambda: top_k_accuracy([], []), 'at least one of each'),
        (lambda: top_k_accuracy(SCORES, [0, 1]), r'4 samples need labels of shape \(4,\)'),
        (lambda: top_k_accuracy(SCORES, [0, 1, 3, 1]), 'sample 2 has label 3.*3 classes'),
        (lambda: mean_class_accuracy(SCORES, [0, -1, 1, 1]), 'sample 1 has label -1'),
        (lambda: top_k_accuracy(SCORES, LABELS, (0,)), 'at least 1'),
        (lambda: top_k_classes(SCORES, LABELS, mode='best'), "not 'best'"),
        (lambda: top_k_classes(SCORES, LABELS, 0), 'k must be at least 1'),
        (lambda: confusion_matrix([0, 1], [0]), r'labels of shape \(2,\)'),
        (lambda: confusion_matrix([0, -1], [0, 1]), 'label -1'),
        (lambda: confusion_matrix([0], [0], 'rows'), "not 'rows'"),
        (lambda: confusion_matrix(np.empty(0, int), np.empty(0, int)), 'at least one sample'),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_are_integers():
    with pytest.raises(TypeError, match='integers, not float64'):
        top_k_accuracy(SCORES, [0.0, 1.0, 1.0, 2.0])
