import torch
from mmengine.model import BaseModule
from torch import nn

from mmaction.config.arguments import accepted_arguments


class Closed:
    def __init__(self, a, *, b=1):
        pass


class Passing(Closed):
    def __init__(self, c, **kwargs):
        super().__init__(**kwargs)


class Silent(Passing):
    pass


class Open(nn.Module):
    def __init__(self, a, **kwargs):
        super().__init__()


class Module(BaseModule):
    def __init__(self, a, **kwargs):
        super().__init__(**kwargs)


class Bare:
    pass


def names(target):
    accepted, takes_more = accepted_arguments(target)
    assert not takes_more
    return accepted - {'self'}


def test_keyword_arguments_are_followed_through_the_bases():
    assert names(Closed) == {'a', 'b'}
    assert names(Passing) == {'a', 'b', 'c'}
    assert names(Silent) == {'a', 'b', 'c'}
    assert names(Module) == {'a', 'init_cfg'}
    assert names(Bare) == set()


def test_arbitrary_keyword_arguments_are_reported():
    assert accepted_arguments(Open)[1]
    assert accepted_arguments(lambda a, **kwargs: None) == ({'a'}, True)


def test_functions_and_classes_of_libraries():
    assert names(lambda a, b=1: None) == {'a', 'b'}
    assert {'lr', 'betas', 'weight_decay'} <= names(torch.optim.AdamW)
