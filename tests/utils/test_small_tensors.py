"""Small tensors reach another process as bytes, and equal."""

import io
import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from mmaction.engine.runner.dataloader_workers import start_worker
from mmaction.structures import ActionDataSample
from mmaction.utils.forked_call import _Pickler
from mmaction.utils.small_tensors import SHARED_FROM, hand_over_as_bytes, reduce_small

SMALL = {
    'label': torch.tensor([3]),
    'scalar': torch.tensor(2.5, dtype=torch.float64),
    'pixels': torch.arange(180, dtype=torch.uint8).reshape(1, 3, 2, 5, 6),
    'bf16': torch.randn(2, 3).bfloat16(),
    'bool': torch.tensor([True, False]),
    'turned': torch.arange(6.0).reshape(2, 3).t(),
    'every second': torch.arange(9)[::2],
    'expanded': torch.ones(1, 3).expand(4, 3),
    'part of a large one': torch.arange(float(SHARED_FROM))[5:9],
}


class Named(torch.Tensor):
    """A kind of tensor of somebody else's."""


OTHERS = {
    'large': torch.zeros(SHARED_FROM, dtype=torch.uint8),
    'empty': torch.zeros(0, 3),
    'trained': torch.zeros(2, requires_grad=True),
    'parameter': torch.nn.Parameter(torch.zeros(2)),
    'subclass': torch.zeros(2).as_subclass(Named),
    'complex': torch.zeros(2, dtype=torch.complex64),
    'sparse': torch.eye(3).to_sparse(),
    'meta': torch.zeros(2, device='meta'),
}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', SMALL)
def test_bytes_give_an_equal_tensor_of_its_own(name):
    tensor = SMALL[name]
    build, arguments = pickle.loads(pickle.dumps(reduce_small(tensor)))
    found = build(*arguments)
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(found, tensor)
    assert found.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    before = tensor.clone()
    found.fill_(1)  # it can be written to
    assert torch.equal(tensor, before)


@pytest.mark.parametrize('name', OTHERS)
def test_other_tensors_are_left_to_torch(name):
    assert reduce_small(OTHERS[name]) is None


def test_reading_processes_send_bytes():
    file = io.BytesIO()
    _Pickler(file).dump({'label': SMALL['label'], 'name': 'a'})
    assert b'small_tensors' in file.getvalue()
    assert pickle.loads(file.getvalue()) == {'label': SMALL['label'], 'name': 'a'}


class Clips(Dataset):
    """A small and a large clip, each with a label, as a training pipeline packs them."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        clip = torch.full((3, 4, 100 * (1 + index), 40), index, dtype=torch.uint8)
        return dict(inputs=clip, data_samples=ActionDataSample().set_gt_label(index))


@pytest.mark.parametrize('start', [partial(start_worker, then=None), hand_over_as_bytes])
def test_workers_share_large_tensors_only(start):
    loader = DataLoader(Clips(), 2, num_workers=1, collate_fn=pseudo_collate, worker_init_fn=start)
    (batch,) = loader
    small, large = batch['inputs']
    labels = [sample.gt_label for sample in batch['data_samples']]
    assert not any(tensor.is_shared() for tensor in (small, *labels))
    assert large.is_shared()
    for index, (clip, label) in enumerate(zip(batch['inputs'], labels, strict=True)):
        assert clip.shape == (3, 4, 100 * (1 + index), 40)
        assert (clip == index).all()
        assert label.tolist() == [index]
    assert b'small_tensors' not in bytes(ForkingPickler.dumps(small))  # only the workers send so
