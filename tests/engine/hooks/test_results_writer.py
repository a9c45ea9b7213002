import pytest

from mmaction.engine.hooks.results_writer import in_list_order


@pytest.mark.parametrize('size', [1, 5, 6, 7, 8])
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_gathered_samples_follow_list_order(size, processes):
    samples = list(range(size))
    assert in_list_order([samples[r::processes] for r in range(processes)], size) == samples


def test_repeated_samples_are_dropped():
    assert in_list_order([[0, 2, 4], [1, 3, 0]], 5) == [0, 1, 2, 3, 4]
