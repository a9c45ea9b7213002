"""What the transformers share, and what holds for all of them."""

import copy

import pytest
import torch

from mmaction.engine.compile import repeated_blocks
from mmaction.models.common.transformer import (
    Attention,
    MultiheadAttention,
    check_keys,
    drop_path_rates,
)
from mmaction.registry import MODELS
from tests.golden.fill import make_input
from tests.models.backbones.reference import cases_of, recorded

FAMILIES = ('swin', 'vit_mae', 'mvit', 'timesformer', 'uniformer', 'uniformerv2')


def test_attention_matches_plain_softmax():
    attention = Attention(8, 2, key_bias=False, qk_scale=0.3).eval()
    torch.nn.init.normal_(attention.q_bias)
    torch.nn.init.normal_(attention.v_bias)
    x = torch.randn(2, 5, 8)
    zero = torch.zeros(8)
    q, k, v = (x @ attention.qkv.weight.t()).chunk(3, -1)
    q, k, v = (
        (part + bias).unflatten(-1, (2, 4)).transpose(1, 2)
        for part, bias in ((q, attention.q_bias), (k, zero), (v, attention.v_bias))
    )
    wanted = (q * 0.3 @ k.transpose(-1, -2)).softmax(-1) @ v
    wanted = attention.proj(wanted.transpose(1, 2).flatten(2))
    assert torch.allclose(attention(x), wanted, atol=1e-5)
    assert set(dict(attention.named_parameters())) == {
        'q_bias',
        'v_bias',
        'qkv.weight',
        'proj.weight',
        'proj.bias',
    }


def test_dropout_of_attention_acts_in_training_only():
    attention = Attention(8, 2, attn_drop=0.5)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        assert not torch.equal(attention(x), attention(x))
        attention.eval()
        assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize('batch_first', [True, False])
@pytest.mark.parametrize('crossed', [True, False])
def test_multihead_attention_is_that_of_pytorch(batch_first, crossed):
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first)
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours = MultiheadAttention(8, 2, batch_first=batch_first)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 5, 8)
    context = torch.randn((3, 7, 8) if batch_first else (7, 5, 8)) if crossed else x
    wanted, _ = theirs(x, context, context, need_weights=False)
    assert torch.allclose(ours(x, context) if crossed else ours(x), wanted, atol=1e-6)


def test_stochastic_depth_grows_evenly():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


def test_architecture_by_name_or_dict():
    known = dict(tiny=dict(depths=1, dims=2))
    assert check_keys('Tiny', known) is known['tiny']
    assert check_keys(dict(depths=3, dims=4), known) == dict(depths=3, dims=4)
    with pytest.raises(ValueError, match=r"arch='huge' is none of \['tiny'\]"):
        check_keys('huge', known)
    with pytest.raises(ValueError, match=r"lacks \['dims'\]"):
        check_keys(dict(depths=3), known)


@pytest.mark.parametrize('family', FAMILIES)
def test_blocks_that_are_compiled_are_called(family):
    case = recorded()[cases_of(family)[0]]
    model = MODELS.build(copy.deepcopy(case['backbone'])).eval()
    called = []
    for block in repeated_blocks(model):
        block.register_forward_hook(lambda module, *_: called.append(module))
    with torch.no_grad():
        model(make_input(tuple(case['input_shape']), case['input_seed']))
    assert len(called) > 1
    assert set(called) == set(repeated_blocks(model))


SLOW = ('timesformer/tsf_div', 'swin/swin', 'mvit/mvit', 'uniformer/uni', 'uniformerv2/uni2')


@pytest.mark.parametrize(
    'name',
    [
        'vit_mae/vit',
        *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW),
    ],
)
def test_exported_program_gives_the_same(name):
    case = recorded()[name]
    model = MODELS.build(copy.deepcopy(case['backbone'])).eval()
    clip = make_input(tuple(case['input_shape']), case['input_seed'])
    program = torch.export.export(model, (clip,), strict=False).module()
    with torch.no_grad():
        torch.testing.assert_close(program(clip), model(clip), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'size', 'text'),
    [
        ('vit_mae/vit', (8, 32, 32), 'set num_frames of the backbone'),
        ('timesformer/tsf_div', (8, 32, 32), 'takes clips of these sizes, not'),
        ('uniformerv2/uni2', (4, 40, 40), 'input_resolution=32 takes frames of this height'),
    ],
)
def test_clips_of_other_sizes_are_refused_in_one_sentence(name, size, text):
    model = MODELS.build(copy.deepcopy(recorded()[name]['backbone']))
    with pytest.raises(ValueError, match=text):
        model(torch.zeros(1, 3, *size))
