import pytest
from torch import nn


class Video2D(nn.Module):
    """A network of the kinds of layers that TSN has."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.fc_cls = nn.Linear(4, 2)


def groups_of(constructor, model, paramwise_cfg):
    from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

    config = dict(
        type=constructor,
        optim_wrapper_cfg=dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01)
        ),
        paramwise_cfg=paramwise_cfg,
    )
    groups = OPTIM_WRAPPER_CONSTRUCTORS.build(config)(model).optimizer.param_groups
    by_id = {id(p): name for name, p in model.named_parameters()}
    return {
        by_id[id(p)]: (round(g['lr'], 9), round(g['weight_decay'], 9))
        for g in groups
        for p in g['params']
    }


def test_tsm_constructor():
    found = groups_of('TSMOptimWrapperConstructor', Video2D(), dict(fc_lr5=True))
    assert found == {
        'backbone.0.weight': (0.1, 0.01),
        'backbone.0.bias': (0.2, 0),
        'backbone.1.weight': (0.1, 0),
        'backbone.1.bias': (0.1, 0),
        'backbone.2.weight': (0.1, 0.01),
        'backbone.2.bias': (0.2, 0),
        'fc_cls.weight': (0.5, 0.01),
        'fc_cls.bias': (1.0, 0),
    }
    found = groups_of('TSMOptimWrapperConstructor', Video2D(), dict(fc_lr5=False))
    assert (found['fc_cls.weight'], found['fc_cls.bias']) == ((0.1, 0.01), (0.2, 0))
    model = Video2D()
    model.extra = nn.PReLU()
    with pytest.raises(ValueError, match='has no rule for a PReLU'):
        groups_of('TSMOptimWrapperConstructor', model, dict(fc_lr5=True))
