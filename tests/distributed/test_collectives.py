"""What ranks tell each other: one rank alone here, two under torchrun in test_torchrun.py."""

import torch

from mmaction.distributed.collectives import (
    any_rank,
    broadcast_object,
    close_processes,
    gather_objects,
    reduce_mean,
)


def test_one_rank_alone_gets_its_own_values():
    values = {'loss': torch.tensor(2.0)}
    assert any_rank(True)
    assert not any_rank(False)
    assert gather_objects('x') == ['x']
    assert broadcast_object('x') == 'x'
    found = reduce_mean(values)
    assert found == values
    assert found is not values
    close_processes()
