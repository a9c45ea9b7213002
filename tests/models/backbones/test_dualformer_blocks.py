"""The attentions, blocks and position generator of DualFormer, one by one."""

import copy

import pytest
import timm.layers
import torch
from torch._dynamo.utils import counters

from mmaction.models.backbones import DualFormer
from mmaction.models.backbones.dualformer_blocks import DropPath, Mlp, PositionGenerator
from tests.models.backbones.small_dualformer import SMALL, on_meta, randomized


def test_windows_have_no_mask_and_no_padding(model, monkeypatch):
    seen = []

    def attention(q, k, v, **kwargs):
        seen.append((q.shape[2], kwargs.get('attn_mask')))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, **kwargs)

    monkeypatch.setattr('mmaction.models.backbones.dualformer_blocks.attention', attention)
    model.blocks[0][0].attn(torch.randn(1, 3, 4, 6, 16))  # windows of 2 x 4 x 4
    assert sorted(seen) == [(8, None), (16, None), (16, None), (32, None)]


@pytest.mark.parametrize('rate', ['attn_drop_rate', 'drop_rate', 'drop_path_rate'])
@pytest.mark.parametrize('block', [0, 1])
def test_dropout_acts_in_training_only(device, rate, block):
    """In each kind of block: windows and pyramid."""
    torch.manual_seed(0)
    model = randomized(DualFormer(**SMALL, **{rate: 0.5}))
    stage = model.blocks[1]
    tokens = torch.randn(4, 4, 8, 8, 24)
    with torch.no_grad():
        assert not torch.equal(stage[block](tokens), stage[block](tokens))
        stage.eval()
        assert torch.equal(stage[block](tokens), stage[block](tokens))


def test_drop_rate_reaches_projections_and_mlps():
    model = DualFormer(**SMALL, drop_rate=0.25)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {name.rpartition('.')[2] for name in rates} == {'pos_drop', 'proj_drop', 'drop'}
    assert set(rates.values()) == {0.25}


def test_scale_of_attention_is_a_factor_of_the_queries():
    plain = randomized(DualFormer(**SMALL)).eval()
    scaled = DualFormer(**SMALL, qk_scale=0.5 * 8**-0.5).eval()  # heads have 8 channels
    scaled.load_state_dict(plain.state_dict())
    tokens = torch.randn(1, 4, 8, 8, 24)
    for block in (0, 1):
        attn = plain.blocks[1][block].attn
        queries = attn.q if block else attn.qkv
        for part in (queries.weight, queries.bias):
            part.data[:24] *= 0.5
        with torch.no_grad():
            torch.testing.assert_close(scaled.blocks[1][block].attn(tokens), attn(tokens))


def test_attention_without_biases():
    names = [name for name, _ in on_meta(**SMALL, qkv_bias=False).named_parameters()]
    layers = ('.attn.qkv.', '.attn.q.', '.attn.kv.')
    assert {name.split('.')[-1] for name in names if any(x in name for x in layers)} == {'weight'}


@pytest.mark.parametrize('bf16', [False, True])
def test_position_generator_gradients_match_convolution(device, bf16):
    position = PositionGenerator(6).train()
    conv = copy.deepcopy(position.proj[0])
    tokens = torch.randn(2, 3, 5, 4, 6, requires_grad=True)
    plain = tokens.detach().clone().requires_grad_()
    target = torch.randn(2, 3, 5, 4, 6)
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        ours = position(tokens)
        theirs = plain + conv(plain.movedim(-1, 1)).movedim(1, -1)
    (ours.float() * target).sum().backward()
    (theirs.float() * target).sum().backward()
    tolerance = dict(rtol=0.02, atol=0.2) if bf16 else dict(rtol=1e-5, atol=1e-5)
    exact = dict(rtol=1e-5, atol=1e-5) if device == 'cpu' or not bf16 else tolerance
    torch.testing.assert_close(ours, theirs, **exact)
    torch.testing.assert_close(tokens.grad, plain.grad, **tolerance)
    mine = position.proj[0]
    torch.testing.assert_close(mine.weight.grad, conv.weight.grad, **tolerance)
    torch.testing.assert_close(mine.bias.grad, conv.bias.grad, **tolerance)


@pytest.mark.parametrize('rate', [0.0, 0.3, 1.0])
def test_drop_path_leaves_out_the_samples_that_timm_leaves_out(rate):
    x = torch.randn(64, 5, 7)
    found, expected = (layer(rate) for layer in (DropPath, timm.layers.DropPath))
    outputs = []
    for layer in (found, expected):
        torch.manual_seed(1)
        outputs.append(layer(x))
    assert torch.equal(*outputs)
    assert found.eval()(x) is x


def test_compiled_drop_path_is_one_graph_for_all_rates():
    torch.compiler.reset()
    counters.clear()
    x = torch.ones(4000, 2)
    for rate in (0.1, 0.5, 1.0):
        layer = DropPath(rate)
        layer.compile(backend='aot_eager', dynamic=False)
        y = layer(x)
        kept = (y[:, 0] != 0).float().mean().item()
        assert kept == pytest.approx(1 - rate, abs=0.05)
        assert torch.equal(y[:, 0], y[:, 1])
        if kept:
            torch.testing.assert_close(y.max().item(), 1 / (1 - rate))
    assert counters['stats']['unique_graphs'] == 1


def test_feed_forward_draws_what_timm_draws():
    x, outputs, names = torch.randn(4, 8), [], []
    for make in (lambda: Mlp(8, 16, 0.3, 12), lambda: timm.layers.Mlp(8, 16, 12, drop=0.3)):
        torch.manual_seed(1)
        layer = make()
        outputs.append(layer(x))
        names.append(list(layer.state_dict()))
    assert torch.equal(*outputs)
    assert names[0] == names[1]
