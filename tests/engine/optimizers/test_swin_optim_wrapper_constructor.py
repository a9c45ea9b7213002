"""Parameter groups of SwinOptimWrapperConstructor and, of transformers, of layer decay."""

import pytest

from mmaction.registry import MODELS
from tests import zoo
from tests.engine.optimizers.param_groups import Video2D, groups_of


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


def test_swin_constructor_multiplies_all_keys_that_match():
    rules = {'backbone': dict(lr_mult=0.1), '.1.': dict(decay_mult=0.0, lr_mult=0.5)}
    model = Video2D()
    model.backbone[2].requires_grad_(False)
    found = groups_of(model, constructor='SwinOptimWrapperConstructor', paramwise_cfg=rules)
    assert found == {
        'backbone.0.weight': (0.1, 1),
        'backbone.0.bias': (0.1, 1),
        'backbone.1.weight': (0.05, 0),
        'backbone.1.bias': (0.05, 0),
        'backbone.2.weight': (1, 1),  # frozen
        'backbone.2.bias': (1, 1),
        'fc_cls.weight': (1, 1),
        'fc_cls.bias': (1, 1),
    }
