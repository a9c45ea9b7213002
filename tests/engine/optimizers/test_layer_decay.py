import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmaction.engine.optimizers.layer_decay import layer_of
from mmaction.errors import ConfigError
from mmaction.registry import MODELS

DEPTHS = [2, 2, 10, 4]


@pytest.mark.parametrize(
    ('name', 'layer', 'stage'),
    [
        ('backbone.patch_embeds.0.proj.weight', 0, 0),
        ('backbone.blocks.0.0.norm1.weight', 1, 1),
        ('backbone.pos_block.0.proj.0.weight', 1, 1),
        ('backbone.blocks.0.1.attn.q.weight', 2, 1),
        ('backbone.patch_embeds.2.proj.weight', 5, 3),
        ('backbone.blocks.2.9.mlp.fc1.weight', 14, 3),
        ('backbone.blocks.3.3.mlp.fc1.weight', 18, 4),
        ('backbone.norm.weight', 19, 5),
        ('cls_head.fc_cls.weight', 19, 5),
    ],
)
def test_layers_of_dualformer_tiny(name, layer, stage):
    assert layer_of(name, DEPTHS) == layer
    assert layer_of(name, DEPTHS, by_stage=True) == stage


def test_layers_of_a_plain_transformer():
    assert layer_of('backbone.patch_embed.proj.weight', [12]) == 0
    assert layer_of('backbone.pos_embed', [12]) == 0
    assert layer_of('backbone.blocks.11.norm1.weight', [12]) == 12
    assert layer_of('backbone.fc_norm.weight', [12]) == 13


@pytest.mark.parametrize(
    ('name', 'depths', 'layer'),
    [
        ('backbone.layers.0.blocks.1.attn.w_msa.qkv.weight', [2, 2, 6, 2], 2),
        ('backbone.layers.1.downsample.norm.weight', [2, 2, 6, 2], 4),
        ('backbone.layers.3.blocks.0.norm1.weight', [2, 2, 6, 2], 11),
        ('backbone.norm3.weight', [2, 2, 6, 2], 13),
        ('backbone.conv1.conv.weight', [3, 4, 6, 3], 0),
        ('backbone.layer1.0.conv1.conv.weight', [3, 4, 6, 3], 1),
        ('backbone.layer4.2.conv3.bn.weight', [3, 4, 6, 3], 16),
        ('backbone.slow_path.layer2.0.conv1.conv.weight', [3, 4, 6, 3], 4),
        ('backbone.fast_path.conv1.conv.weight', [3, 4, 6, 3], 0),
        ('backbone.slow_path.layer1_lateral.conv.weight', [3, 4, 6, 3], 3),
        ('backbone.patch_embed2.proj.weight', [3, 4, 8, 3], 4),
        ('backbone.blocks3.7.mlp.fc1.weight', [3, 4, 8, 3], 15),
        ('backbone.transformer.resblocks.4.attn.in_proj_weight', [12], 5),
        ('backbone.class_embedding', [12], 0),
        ('backbone.transformer_layers.layers.2.norms.0.weight', [12], 3),
        ('backbone.time_embed', [12], 0),
    ],
)
def test_layers_of_other_networks(name, depths, layer):
    assert layer_of(name, depths) == layer


RESNET = dict(stage_blocks=(1, 1, 1, 1), base_channels=8, norm_eval=False)
SWIN = dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
NETWORKS = dict(
    vit=(dict(type='VisionTransformer', embed_dims=24, depth=3, num_heads=2), 3),
    swin=(dict(type='SwinTransformer3D', arch=SWIN, patch_norm=True), 5),
    resnet=(dict(type='ResNet', depth=18), 8),
    slowonly=(dict(type='ResNet3dSlowOnly', depth=50, lateral=False, **RESNET), 4),
)


@pytest.mark.parametrize('name', NETWORKS)
def test_each_layer_of_a_network_has_a_rate_of_its_own(name):
    backbone, layers = NETWORKS[name]
    with torch.device('meta'):
        model = MODELS.build(dict(type='Recognizer3D', backbone=backbone))
    model.head = nn.Linear(2, 2)
    groups = build(model, decay_rate=0.5).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    assert {group['lr'] for group in groups} == {0.5**i for i in range(layers + 2)}
    names = {id(p): n for n, p in model.named_parameters()}
    (top,) = {
        group['lr'] for group in groups if any('head' in names[id(p)] for p in group['params'])
    }
    assert top == 1.0
    # at full rate is the head, and at most a last norm
    full = [names[id(p)] for group in groups if group['lr'] == 1 for p in group['params']]
    assert all(n.startswith('head') or 'norm' in n for n in full), full


@pytest.fixture
def model():
    arch = dict(embed_dims=[8, 16], num_heads=[1, 1], depths=[2, 1], mlp_ratios=[1, 1])
    sizes = dict(local_sizes=[(2, 2, 2)] * 2, fine_pysizes=[(1, 1, 1)] * 2)
    backbone = dict(
        type='DualFormer',
        arch=dict(**arch, **sizes, coarse_pysizes=[None, None]),
        video_size=(4, 16, 16),
    )
    head = dict(type='I3DHead', num_classes=3, in_channels=16)
    return MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head))


def build(model, **rules):
    return build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            constructor='LearningRateDecayOptimizerConstructor',
            paramwise_cfg=rules,
        ),
    )


def test_learning_rates_decay_towards_the_input(model):
    model.backbone.blocks[0][0].norm1.weight.requires_grad = False
    wrapper = build(model, decay_rate=0.5)
    groups = wrapper.optimizer.param_groups
    found = {id(p): group for group in groups for p in group['params']}
    named = dict(model.named_parameters())
    assert len(found) == len(named) - 1
    rate = {name: found[id(p)]['lr'] for name, p in named.items() if id(p) in found}
    assert rate['cls_head.fc_cls.weight'] == rate['backbone.norm.weight'] == 1.0
    assert rate['backbone.blocks.1.0.mlp.fc1.weight'] == 0.5
    assert rate['backbone.patch_embeds.1.proj.weight'] == 0.5
    assert rate['backbone.blocks.0.1.mlp.fc1.weight'] == 0.25
    assert rate['backbone.blocks.0.0.mlp.fc1.weight'] == 0.125
    assert rate['backbone.patch_embeds.0.proj.weight'] == 0.0625
    decay = {name: found[id(p)]['weight_decay'] for name, p in named.items() if id(p) in found}
    assert decay['cls_head.fc_cls.weight'] == 0.05
    assert decay['cls_head.fc_cls.bias'] == decay['backbone.norm.weight'] == 0.0
    assert wrapper.get_lr()['lr'][0] == 1.0


def test_stage_wise_layer_decay(model):
    groups = build(model, decay_rate=0.5, decay_type='stage_wise').optimizer.param_groups
    assert {group['lr'] for group in groups} == {1.0, 0.5, 0.25, 0.125}


def test_no_layer_learns_faster_than_the_head(model):
    """Also where `num_layers` of the config is that of a network with fewer blocks."""
    groups = build(model, decay_rate=0.5, num_layers=1).optimizer.param_groups
    assert {group['lr'] for group in groups} == {1.0, 0.5, 0.25}


def test_the_head_has_the_full_rate_where_num_layers_exceeds_the_blocks(model):
    wrapper = build(model, decay_rate=0.5, num_layers=5)
    assert wrapper.get_lr()['lr'][0] == 1.0
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {
        1.0,
        2**-3,
        2**-4,
        2**-5,
        2**-6,
    }


@pytest.mark.parametrize(
    'rules', [dict(), dict(decay_rate=2), dict(decay_rate=0.5, decay_type='x')]
)
def test_invalid_layer_decay_arguments_are_errors(model, rules):
    with pytest.raises(ConfigError, match='paramwise_cfg'):
        build(model, **rules)


def test_model_without_blocks_has_one_learning_rate():
    model = nn.Module()
    model.fc = nn.Linear(2, 2)
    assert {group['lr'] for group in build(model, decay_rate=0.5).optimizer.param_groups} == {1.0}
