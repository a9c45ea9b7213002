from collections import namedtuple

import pytest
import torch

from mmaction.engine.runner.device_batches import device_batches
from mmaction.structures import ActionDataSample

Pair = namedtuple('Pair', 'first second')


def batch(number):
    sample = ActionDataSample(metainfo=dict(filename=f'{number}.mp4')).set_gt_label(number)
    clip = torch.full((1, 3, 2, 4, 4), number, dtype=torch.uint8)
    return number, dict(inputs=[clip], data_samples=[sample], more=Pair(clip, (clip, 'text')))


def test_batches_stay_on_a_cpu_as_they_are():
    batches = [batch(i) for i in range(3)]
    assert [b is c for b, c in zip(batches, device_batches(batches, 'cpu'), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_batches_keep_order_number_and_form(count):
    found = list(device_batches((batch(i) for i in range(count)), 'meta'))
    assert [number for number, _ in found] == list(range(count))
    for number, data in found:
        (clip,), (sample,) = data['inputs'], data['data_samples']
        assert clip.device.type == sample.gt_label.device.type == 'meta'
        assert clip.dtype is torch.uint8
        assert sample.metainfo == dict(filename=f'{number}.mp4')
        assert isinstance(data['more'], Pair)
        assert data['more'].second[1] == 'text'
        assert data['more'].second[0].device.type == 'meta'


def test_next_batch_is_on_its_way_while_one_is_used():
    asked = []

    def loader():
        for i in range(4):
            asked.append(i)
            yield batch(i)

    batches = device_batches(loader(), 'meta')
    next(batches)
    assert asked == [0, 1]
    next(batches)
    assert asked == [0, 1, 2]


def test_samples_of_the_loader_stay_as_they_are():
    _, data = batch(3)
    list(device_batches(iter([data]), 'meta'))
    assert data['data_samples'][0].gt_label.device.type == 'cpu'


@pytest.mark.cuda
def test_batches_arrive_whole_without_the_host_waiting():
    batches = [batch(i) for i in range(20)]
    torch.cuda.set_sync_debug_mode('error')
    sums = []
    try:
        busy = torch.ones(2048, 2048, device='cuda')
        for _, data in device_batches(iter(batches), 'cuda'):
            busy = busy @ busy.clamp(max=1e-4)
            sums.append(data['inputs'][0].sum() + data['data_samples'][0].gt_label.sum())
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert torch.stack(sums).tolist() == [96 * i + i for i in range(20)]
