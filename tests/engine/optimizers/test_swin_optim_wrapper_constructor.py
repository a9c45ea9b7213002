"""Parameter groups of SwinOptimWrapperConstructor and, of transformers, of layer decay."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmaction.registry import MODELS
from tests import zoo


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


def test_groups_of_swin_are_those_of_the_published_config():
    name = 'swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py'
    wrapper = zoo.configs()[name]['optim_wrapper']
    arch = dict(embed_dims=12, depths=[1, 2], num_heads=[1, 2])
    model = zoo.build(name, arch=arch, out_indices=[1])
    groups = groups_of(
        model, constructor=wrapper['constructor'], paramwise_cfg=wrapper['paramwise_cfg']
    )
    assert list(groups) == [name for name, _ in model.named_parameters()]
    block = 'backbone.layers.1.blocks.1.'
    assert groups[f'{block}attn.qkv.weight'] == pytest.approx((0.1, 1))
    assert groups[f'{block}mlp.fc1.bias'] == pytest.approx((0.1, 1))
    assert groups[f'{block}attn.relative_position_bias_table'] == pytest.approx((0.1, 0))
    for norm in (
        'patch_embed.norm',
        'layers.0.downsample.norm',
        'layers.1.blocks.0.norm2',
        'norm1',
    ):
        assert groups[f'backbone.{norm}.weight'] == pytest.approx((0.1, 0))
    assert groups['cls_head.fc_cls.weight'] == (1, 1)


def test_rules_multiply_and_frozen_parameters_keep_their_place():
    backbone = dict(
        type='SwinTransformer3D',
        arch=dict(embed_dims=4, depths=[1], num_heads=[1]),
        out_indices=[0],
        frozen_stages=0,
    )
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone))
    rules = dict(backbone=dict(lr_mult=0.5), norm=dict(lr_mult=0.5, decay_mult=0.25))
    groups = groups_of(model, constructor='SwinOptimWrapperConstructor', paramwise_cfg=rules)
    assert groups['backbone.layers.0.blocks.0.norm1.bias'] == (0.25, 0.25)
    assert 'backbone.patch_embed.proj.weight' in groups


def test_layer_decay_of_mvit_is_that_of_the_published_config():
    name = 'mvit/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb.py'
    wrapper = zoo.configs()[name]['optim_wrapper']
    assert wrapper['constructor'] == 'LearningRateDecayOptimizerConstructor'
    assert wrapper['paramwise_cfg'] == dict(decay_rate=0.75, decay_type='layer_wise', num_layers=16)
    small = dict(embed_dims=4, num_layers=16, num_heads=1, downscale_indices=[1, 3, 14])
    model = zoo.build(name, arch=small, spatial_size=64)
    groups = groups_of(
        model, constructor=wrapper['constructor'], paramwise_cfg=wrapper['paramwise_cfg']
    )
    # layer 0: patches and tokens; block n: n + 1; above the last block: 17
    assert groups['backbone.cls_token'] == pytest.approx((0.75**17, 1))
    assert groups['backbone.patch_embed.projection.weight'] == pytest.approx((0.75**17, 1))
    assert groups['backbone.blocks.0.attn.qkv.weight'] == pytest.approx((0.75**16, 1))
    assert groups['backbone.blocks.15.attn.rel_pos_h'] == pytest.approx((0.75, 1))
    assert groups['backbone.blocks.15.norm1.weight'] == pytest.approx((0.75, 0))
    assert groups['backbone.norm3.bias'] == (1, 0)
    assert groups['cls_head.fc_cls.weight'] == (1, 1)


class Video2D(nn.Module):
    """A network of the kinds of layers that TSN has."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.fc_cls = nn.Linear(4, 2)


def built_groups(constructor, model, paramwise_cfg):
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


def test_swin_constructor_multiplies_all_keys_that_match():
    rules = {'backbone': dict(lr_mult=0.1), '.1.': dict(decay_mult=0.0, lr_mult=0.5)}
    model = Video2D()
    model.backbone[2].requires_grad_(False)
    assert built_groups('SwinOptimWrapperConstructor', model, rules) == {
        'backbone.0.weight': (0.01, 0.01),
        'backbone.0.bias': (0.01, 0.01),
        'backbone.1.weight': (0.005, 0),
        'backbone.1.bias': (0.005, 0),
        'backbone.2.weight': (0.1, 0.01),  # frozen
        'backbone.2.bias': (0.1, 0.01),
        'fc_cls.weight': (0.1, 0.01),
        'fc_cls.bias': (0.1, 0.01),
    }
