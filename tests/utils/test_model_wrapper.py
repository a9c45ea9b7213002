from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmaction.utils.model_wrapper import bare_model


class Wrapper(MMDistributedDataParallel):
    """As the wrapper of several ranks, without the ranks."""

    def __init__(self, module):
        nn.Module.__init__(self)
        self.module = module


def test_the_model_within_its_wrapper():
    model = nn.Linear(2, 2)
    assert bare_model(model) is model
    assert bare_model(Wrapper(model)) is model
    plain = nn.Module()
    plain.module = model  # an attribute of that name makes no wrapper
    assert bare_model(plain) is plain
