"""A small network, and the parameter groups that a constructor makes of a model."""

from mmengine.optim import build_optim_wrapper
from torch import nn


class Video2D(nn.Module):
    """A network of the kinds of layers that TSN has."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.fc_cls = nn.Linear(4, 2)


def groups_of(model, **config):
    """Name -> (learning rate, weight decay), both of a base of 1, in the order of the groups."""
    wrapper = build_optim_wrapper(
        model, dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=1.0), **config)
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
