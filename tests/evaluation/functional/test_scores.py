import numpy as np
import pytest
import scipy.special

from mmaction.evaluation import get_weighted_score, softmax


def test_weighted_score():
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 3)), rng.random((5, 3))
    mixed = get_weighted_score([list(first), list(second)], [1, 0.5])
    assert isinstance(mixed, list)
    assert len(mixed) == 5
    np.testing.assert_allclose(mixed, first + 0.5 * second)


@pytest.mark.parametrize(
    ('scores', 'weights', 'message'),
    [
        ([np.zeros((2, 3))], [1, 2], '1 sets of scores but 2 weights'),
        ([np.zeros((2, 3)), np.zeros((4, 3))], [1, 2], r'\(2, 3\), \(4, 3\)'),
        ([], [], '0 sets'),
    ],
)
def test_weighted_score_errors(scores, weights, message):
    with pytest.raises(ValueError, match=message):
        get_weighted_score(scores, weights)


@pytest.mark.parametrize('dim', [0, 1, -1])
def test_softmax_also_of_large_values(dim):
    x = np.array([[1.0, 2.0, 3.0], [1000.0, 1001.0, 900.0]])
    np.testing.assert_allclose(softmax(x, dim), scipy.special.softmax(x, axis=dim))
    np.testing.assert_allclose(softmax(x).sum(1), 1)
