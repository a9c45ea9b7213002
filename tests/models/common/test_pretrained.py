"""First weights of the transformers from other networks."""

import pytest
import torch

from mmaction.errors import CheckpointError
from mmaction.models.backbones import swin, uniformer, uniformerv2
from mmaction.models.backbones.mvit import resize_table, resize_tables
from mmaction.models.backbones.timesformer import divide_attention
from mmaction.models.common.pretrained import inflate_center, load_pretrained
from mmaction.registry import MODELS

MVIT = dict(type='MViT', arch=dict(embed_dims=4, num_layers=2, num_heads=1, downscale_indices=[1]))
UNIFORMER = dict(type='UniFormer', depth=[1, 1, 1, 1], embed_dim=[4, 4, 4, 4], head_dim=4)
UNIFORMERV2 = dict(
    type='UniFormerV2',
    input_resolution=16,
    patch_size=8,
    width=8,
    layers=1,
    heads=1,
    t_size=4,
    temporal_downsample=True,
    return_list=[0],
    n_layers=1,
    n_dim=8,
    n_head=1,
    mlp_dropout=[0.0],
)
SWIN = dict(
    type='SwinTransformer3D',
    arch=dict(embed_dims=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
    window_size=(2, 3, 3),
)
TIMESFORMER = dict(
    type='TimeSformer',
    num_frames=2,
    img_size=16,
    patch_size=8,
    embed_dims=8,
    num_heads=2,
    num_transformer_layers=2,
)


def state_2d(window):
    """What of an image Swin differs from a video one, with windows of this height and width."""
    distances = (2 * window - 1) ** 2
    return {
        'patch_embed.proj.weight': torch.randn(4, 3, 4, 4),
        'layers.0.blocks.0.attn.relative_position_bias_table': torch.randn(distances, 1),
        'layers.0.blocks.0.attn.relative_position_index': torch.zeros(2, 2),
        'layers.0.blocks.1.attn_mask': torch.zeros(2, 2),
        'norm.weight': torch.randn(32),
    }


def test_image_swin_is_inflated():
    state = state_2d(window=3)
    model = MODELS.build(SWIN)
    inflated = swin.inflate(state, model)
    assert set(inflated) == {
        'patch_embed.proj.weight',
        'layers.0.blocks.0.attn.relative_position_bias_table',
        'norm3.weight',
    }
    weight = inflated['patch_embed.proj.weight']
    assert torch.allclose(weight.sum(2), state['patch_embed.proj.weight'])
    assert torch.equal(weight[:, :, 0], weight[:, :, 1])
    key = 'layers.0.blocks.0.attn.relative_position_bias_table'
    table = inflated[key].view(3, 25, 1)  # distances in time: -1, 0, 1
    assert all(torch.equal(part, state[key]) for part in table)


def test_tables_of_other_windows_are_interpolated(tmp_path):
    torch.save(dict(model=state_2d(window=5)), tmp_path / 'swin.pth')
    model = MODELS.build(dict(**SWIN, pretrained=str(tmp_path / 'swin.pth')))
    model.init_weights()
    table = model.layers[0].blocks[0].attn.relative_position_bias_table
    assert table.shape == (3 * 25, 1)
    assert torch.equal(table[:25], table[25:50])


def test_divided_attention_starts_from_that_of_a_vit(tmp_path):
    joint = MODELS.build(dict(**TIMESFORMER, attention_type='space_only'))
    torch.save(dict(state_dict=joint.state_dict()), tmp_path / 'vit.pth')
    model = MODELS.build(dict(**TIMESFORMER, pretrained=str(tmp_path / 'vit.pth')))
    model.init_weights()
    own, given = model.state_dict(), joint.state_dict()
    block = 'transformer_layers.layers.1.'
    for part in ('attentions.0', 'attentions.1'):
        weight = own[f'{block}{part}.attn.in_proj_weight']
        assert torch.equal(weight, given[f'{block}attentions.0.attn.in_proj_weight'])
        assert torch.equal(own[f'{block}{part}.norm.bias'], given[f'{block}norms.0.bias'])
    assert torch.equal(own[f'{block}ffns.0.norm.weight'], given[f'{block}norms.1.weight'])
    # Attention over time starts as if it were not there: frames are seen as by the ViT.
    clip = torch.randn(1, 3, 1, 16, 16).expand(-1, -1, 2, -1, -1)
    assert torch.allclose(model.eval()(clip), joint.eval()(clip), atol=1e-5)


def test_divide_attention_changes_names_alone():
    state = {
        'norms.0.w': torch.ones(1),
        'attentions.0.attn.w': torch.zeros(1),
        'pos': torch.ones(2),
    }
    renamed = divide_attention(state, torch.nn.Identity())
    assert set(renamed) == {
        'attentions.0.norm.w',
        'attentions.1.norm.w',
        'attentions.0.attn.w',
        'attentions.1.attn.w',
        'pos',
    }
    assert 'norms.0.w' in state


def test_image_kernels_go_to_the_middle_frame():
    model = torch.nn.Sequential(torch.nn.Conv3d(2, 3, (3, 2, 2)), torch.nn.Linear(2, 2))
    state = {'0.weight': torch.randn(3, 2, 2, 2), '1.weight': torch.randn(2, 2)}
    inflated = inflate_center(state, model)
    assert torch.equal(inflated['0.weight'][:, :, 1], state['0.weight'])
    assert not inflated['0.weight'][:, :, ::2].any()
    assert torch.equal(inflated['1.weight'], state['1.weight'])


def test_tables_of_relative_positions_are_resized():
    model = MODELS.build(dict(**MVIT, spatial_size=32, temporal_size=8))
    key = 'blocks.0.attn.rel_pos_h'
    length = len(model.state_dict()[key])
    ramp = torch.arange(2.0 * length)[:, None].expand(-1, 4)
    resized = resize_tables({key: ramp, 'other': ramp}, model)
    assert resized[key].shape == (length, 4)
    assert (resized[key].diff(dim=0) > 0).all()
    assert resized['other'] is ramp


def test_tables_of_maskfeat_are_resized(tmp_path):
    smaller = MODELS.build(dict(**MVIT, spatial_size=32, temporal_size=8))
    smaller.init_weights()
    torch.save(dict(state_dict=smaller.state_dict()), tmp_path / 'maskfeat.pth')
    options = dict(pretrained=str(tmp_path / 'maskfeat.pth'), pretrained_type='maskfeat')
    model = MODELS.build(dict(**MVIT, spatial_size=64, temporal_size=8, **options))
    model.init_weights()
    given, own = (each.state_dict()['blocks.0.attn.rel_pos_h'] for each in (smaller, model))
    assert len(own) > len(given)
    assert given.any()
    assert torch.equal(own, resize_table(given, len(own)))


@pytest.mark.parametrize(
    ('module', 'cfg', 'name', 'key'),
    [
        (uniformer, UNIFORMER, 'uniformer_small_in1k', 'patch_embed1.proj.weight'),
        (uniformerv2, UNIFORMERV2, 'ViT-B/16', 'conv1.weight'),
    ],
    ids=['uniformer', 'uniformerv2'],
)
def test_published_image_weights_are_found_and_inflated(
    module, cfg, name, key, tmp_path, monkeypatch
):
    state = {k: v.mean(2) if v.ndim == 5 else v for k, v in MODELS.build(cfg).state_dict().items()}
    torch.save(state, tmp_path / 'image.pth')
    monkeypatch.setitem(module.WEIGHTS, name, str(tmp_path / 'image.pth'))
    model = MODELS.build(dict(**cfg, pretrained=name))
    model.init_weights()
    assert torch.equal(model.state_dict()[key][:, :, 1], state[key])
    assert not model.state_dict()[key][:, :, ::2].any()
    norm = 'norm.weight' if module is uniformer else 'transformer.norm.weight'
    assert torch.equal(model.state_dict()[norm], state[norm])


def test_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save(dict(state_dict={'conv1.weight': torch.ones(2)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='has no weight that fits SwinTransformer3D'):
        load_pretrained(MODELS.build(SWIN), str(tmp_path / 'other.pth'))
