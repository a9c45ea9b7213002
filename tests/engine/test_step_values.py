from types import SimpleNamespace

import pytest
import torch

from mmaction.engine.step_values import HostCopy, reads_now


def test_values_keep_names_order_and_digits(device):
    values = dict(a=0.1, loss=torch.tensor(1 / 3, dtype=torch.float64), n=3, acc=torch.ones(1))
    read = HostCopy(values).read()
    assert list(read.items()) == [('a', 0.1), ('loss', 1 / 3), ('n', 3.0), ('acc', 1.0)]
    assert HostCopy({}).read() == {}


def test_value_is_that_of_the_moment(device):
    scale = torch.tensor(4.0)
    copy = HostCopy(dict(scale=scale))
    scale.mul_(2)
    assert copy.read() == dict(scale=4.0)


@pytest.mark.cuda
def test_copy_from_a_gpu_does_not_wait():
    value = torch.ones(4096, 4096, device='cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        for _ in range(50):
            value = value @ value.clamp(max=1e-4)
        copy = HostCopy(dict(total=value.sum()))
        early = copy.arrived()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert not early
    copy.read()
    assert copy.arrived()


@pytest.mark.parametrize(
    ('interval', 'expected'), [(None, range(1, 11)), (3, [3, 6, 9, 10]), (100, [10])]
)
def test_reading_points(interval, expected):
    runner = SimpleNamespace(iter=0, max_iters=100, train_dataloader=range(10))
    if interval:
        runner.reading_interval = interval
    assert [i + 1 for i in range(10) if reads_now(runner, i)] == list(expected)


def test_last_step_of_a_run_is_a_reading_point():
    runner = SimpleNamespace(iter=6, max_iters=7, train_dataloader=range(10), reading_interval=100)
    assert reads_now(runner, 6)
