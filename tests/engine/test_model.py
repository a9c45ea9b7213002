import math

import pytest
import torch
from torch import nn

from mmaction.engine.model import ConvBranchInit


def test_branches_that_are_added_share_the_variance():
    module = nn.Module()
    module.branches = nn.ModuleList(nn.Conv2d(32, 64, (3, 1)) for _ in range(4))
    module.other = nn.Linear(4, 4)
    other = module.other.weight.clone()
    ConvBranchInit('branches')(module)
    for conv in module.branches:
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 32 * 3 * 4)), rel=0.05)
        assert (conv.bias == 0).all()
    assert torch.equal(module.other.weight, other)
