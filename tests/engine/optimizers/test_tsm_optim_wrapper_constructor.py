import pytest
from torch import nn

from tests.engine.optimizers.param_groups import Video2D, groups_of


def groups(model, **rules):
    return groups_of(model, constructor='TSMOptimWrapperConstructor', paramwise_cfg=rules)


def test_tsm_constructor():
    assert groups(Video2D(), fc_lr5=True) == {
        'backbone.0.weight': (1, 1),
        'backbone.0.bias': (2, 0),
        'backbone.1.weight': (1, 0),
        'backbone.1.bias': (1, 0),
        'backbone.2.weight': (1, 1),
        'backbone.2.bias': (2, 0),
        'fc_cls.weight': (5, 1),
        'fc_cls.bias': (10, 0),
    }
    found = groups(Video2D(), fc_lr5=False)
    assert (found['fc_cls.weight'], found['fc_cls.bias']) == ((1, 1), (2, 0))
    model = Video2D()
    model.extra = nn.PReLU()
    with pytest.raises(ValueError, match='has no rule for a PReLU'):
        groups(model, fc_lr5=True)
