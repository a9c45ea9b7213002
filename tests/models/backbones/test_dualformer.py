"""DualFormer against its golden values and against the plain path."""

import copy
import json
import math

import pytest
import timm.layers
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmaction.models.backbones import DualFormer
from mmaction.registry import MODELS
from tests.golden.fill import check_probe, load_deterministic, make_input
from tests.models.backbones.plain_dualformer import PlainDualFormer, PyTorchAttention
from tests.models.backbones.small_dualformer import (
    GOLDEN,
    PARAMETERS,
    SMALL,
    golden_shapes,
    on_meta,
    randomized,
    shapes_of,
)

FORWARD = json.loads((GOLDEN / 'forward_tiny.json').read_text())


@pytest.mark.parametrize('arch', PARAMETERS)
def test_state_dict_has_the_published_names_and_shapes(arch):
    model = on_meta(arch)
    golden = golden_shapes(arch)
    # In this order, too: it numbers the entries of a released checkpoint's optimizer state.
    assert shapes_of(model) == golden
    params = sum(p.numel() for p in model.parameters()) / 1e6
    assert params == pytest.approx(PARAMETERS[arch], abs=5e-4)


@pytest.mark.parametrize('case', FORWARD)
def test_forward_matches_golden_values(device, case):
    case = FORWARD[case]
    model = DualFormer(case['variant'], video_size=case['video_size'], **case['kwargs']).eval()
    load_deterministic(model)
    with torch.no_grad():
        clips = make_input((case['batch'], 3, *case['video_size']), case['input_seed'])
        output = model(clips.to(device)).cpu()
    assert list(output.shape) == case['shape']
    assert check_probe(output, case['probe'], 1e-4) < 1e-5


def test_gradients_do_not_depend_on_the_kernel_of_attention():
    model = DualFormer('tiny', video_size=(8, 224, 224), drop_path_rate=0.0)
    load_deterministic(model)
    clips, parameters = torch.randn(1, 3, 8, 224, 224), list(model.parameters())
    gradients = [
        torch.autograd.grad(run(clips).square().sum(), parameters)
        for run in (model, PyTorchAttention(model))
    ]
    # Those of the keys' biases are zero but for rounding.
    rounding = 1e-6 * max(y.abs().max() for y in gradients[1])
    for name, x, y in zip(dict(model.named_parameters()), *gradients, strict=True):
        assert (x - y).abs().max() <= 1e-3 * y.abs().max() + rounding, name


@pytest.mark.parametrize(
    'shape',
    [(2, 3, 8, 64, 64), (1, 3, 4, 32, 32), (3, 3, 16, 64, 128), (1, 3, 2, 4, 4), (2, 3, 7, 50, 45)],
)
def test_any_input_size_matches_reference(device, model, shape):
    model.eval()
    clips = torch.randn(shape)
    with torch.no_grad():
        expected = PlainDualFormer(model)(clips)
        assert torch.allclose(model(clips), expected, atol=1e-5)
        # clips do not see each other
        assert torch.allclose(model(clips[-1:]), expected[-1:], atol=1e-5)
    grid = [math.ceil(n / k) for n, k in zip(shape[2:], (2, 16, 16), strict=True)]
    assert list(expected.shape) == [shape[0], 32, *grid]


def test_backward_matches_reference(device, model):
    clips = torch.randn(2, 3, 8, 64, 64)
    plain = copy.deepcopy(model)
    weights = torch.randn(model(clips).shape)
    (model(clips) * weights).sum().backward()
    (PlainDualFormer(plain)(clips) * weights).sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None, f'no gradient reaches {name}'
        scale = theirs.grad.abs().max()
        # the bias before a BatchNorm has no gradient but rounding
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4 * max(scale, 1)), name


def test_published_models_run_on_other_clip_sizes(device):
    model = DualFormer('tiny').eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 8, 112, 112)).shape == (1, 512, 4, 4, 4)
        assert model(torch.randn(2, 3, 20, 200, 180)).shape == (2, 512, 10, 7, 6)


@pytest.mark.parametrize(('use_checkpoint', 'most'), [('selective', 0.8), (True, 0.5)])
def test_activation_checkpointing_is_exact_and_saves_memory(device, model, use_checkpoint, most):
    lean = DualFormer(**SMALL, use_checkpoint=use_checkpoint)
    lean.load_state_dict(model.state_dict())
    clips = torch.randn(2, 3, 8, 64, 64)
    # Attention's backward pass on a GPU adds in an order of its own each time.
    equal = torch.equal if device == 'cpu' else torch.allclose
    kept = {}
    for name, net in (('plain', model), ('lean', lean)):
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes.setdefault(tensor.data_ptr(), tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(clips).square().mean()
        kept[name] = sum(sizes.values())
        loss.backward()
    for (name, ours), theirs in zip(lean.named_parameters(), model.parameters(), strict=True):
        assert equal(ours.grad, theirs.grad), name
    for name, value in model.state_dict().items():
        assert equal(lean.state_dict()[name], value), name
    assert kept['lean'] < most * kept['plain']


# Those that keep everything and nothing are compiled in tests/engine/test_compile.py, too.
@pytest.mark.parametrize(
    'use_checkpoint',
    ['selective', *(pytest.param(x, marks=pytest.mark.slow) for x in (False, True))],
)
@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def test_compiles_without_graph_breaks(device, use_checkpoint):
    # Not under a default device, with which PyTorch 2.11 cannot trace `unflatten`.
    torch.compiler.reset()
    # Windows, pyramid, and the step to another stage: each block takes seconds to trace.
    arch = {name: (value[0], value[2]) for name, value in SMALL['arch'].items()}
    arch.update(depths=(2, 1))
    model = DualFormer(arch, video_size=(8, 64, 64), use_checkpoint=use_checkpoint)
    randomized(model).to(device)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    clips = torch.randn(1, 3, 7, 50, 45, device=device)
    for net in (eager, compiled):
        net(clips).square().mean().backward()
    assert torch.allclose(compiled(clips), eager(clips), atol=1e-5)
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)
    for (name, ours), theirs in zip(model.named_buffers(), eager.buffers(), strict=True):
        assert torch.allclose(ours, theirs), name


def test_initialization_reaches_convolutions_and_norms():
    model = DualFormer('tiny')
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d):
            fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
            assert module.weight.std().item() == pytest.approx(fan_out**-0.5 * 2**0.5, rel=0.15), (
                name
            )
        elif isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1), name
        elif isinstance(module, (nn.LayerNorm, nn.BatchNorm3d)):
            assert (module.weight == 1).all(), name
        if getattr(module, 'bias', None) is not None:
            assert (module.bias == 0).all(), name


def test_a_seed_gives_the_weights_that_it_gives_with_timm(monkeypatch):
    torch.manual_seed(0)
    found = DualFormer(**SMALL)
    monkeypatch.setattr('mmaction.models.backbones.dualformer._normal', timm.layers.trunc_normal_)
    torch.manual_seed(0)
    expected = DualFormer(**SMALL)
    for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_output_is_finite_under_bf16_autocast(device):
    model = DualFormer(**SMALL, drop_path_rate=0.1)
    with torch.autocast(device, torch.bfloat16):
        output = model(torch.randn(2, 3, 7, 50, 45) * 3)
    assert output.isfinite().all()
    output.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_drop_path_rises_linearly_over_all_blocks():
    model = DualFormer('tiny', drop_path_rate=0.1)
    rates = [getattr(b.drop_path, 'drop_prob', 0.0) for stage in model.blocks for b in stage]
    assert rates == pytest.approx([0.1 * i / 17 for i in range(18)])


def test_any_number_of_stages(device):
    one = DualFormer(
        arch=dict(embed_dims=[8], num_heads=[2], depths=[2], mlp_ratios=[1]),
        local_sizes=[[2, 2, 2]],
        fine_pysizes=[[2, 2, 2]],
        coarse_pysizes=[None],
        video_size=[8, 32, 32],
    )
    assert one(torch.randn(1, 3, 8, 32, 32)).shape == (1, 8, 4, 8, 8)


@pytest.mark.parametrize('rates', [[-1, 2, 1], [2, 1, 2]])
def test_temporal_pooling_equals_the_plain_path(device, rates):
    model = randomized(DualFormer(**SMALL, temporal_pooling=rates)).eval()
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        found = model(clips)
        assert found.shape == (1, 32, 2, 4, 4)
        torch.testing.assert_close(found, PlainDualFormer(model)(clips), rtol=0, atol=1e-5)
        assert model(torch.randn(2, 3, 5, 50, 45)).shape == (2, 32, 2, 4, 3)


def test_builds_from_a_published_style_config():
    config = dict(
        type='DualFormer',
        pretrained=None,
        pretrained2d=True,
        video_size=(32, 224, 224),
        patch_size=(2, 4, 4),
        in_chans=3,
        num_classes=400,
        embed_dims=[64, 128, 256, 512],
        num_heads=[2, 4, 8, 16],
        mlp_ratios=[4, 4, 4, 4],
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.1,
        depths=[2, 2, 10, 4],
        local_sizes=[[8, 7, 7]] * 4,
        fine_pysizes=[[8, 7, 7], [8, 7, 7], [8, 7, 7], [16, 7, 7]],
        coarse_pysizes=[[4, 4, 4]] * 4,
        temporal_pooling=[-1, 1, 1, 1],
    )
    built = MODELS.build(config)
    assert shapes_of(built) == golden_shapes('tiny')
    assert MODELS.parent is ROOT_MODELS


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((3, 8, 64, 64), r'takes clips of shape \(batch, 3, T, H, W\).*views, 3'),
        ((1, 4, 8, 64, 64), r'not \(1, 4, 8, 64, 64\)'),
        ((1, 3, 8, 3, 64), r'\(8, 3, 64\) \(T, H, W\) is smaller than one patch \(2, 4, 4\)'),
    ],
)
def test_wrong_input_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


def test_bytes_are_refused(model):
    with pytest.raises(ValueError, match=r'clips of floats, not torch\.uint8: subtract the mean'):
        model(torch.zeros(1, 3, 8, 64, 64, dtype=torch.uint8))


def test_maps_of_several_stages(device):
    clip = torch.randn(2, 3, 8, 64, 64, device=device)
    plain = randomized(DualFormer(**SMALL)).to(device).eval()
    several = DualFormer(**SMALL, out_indices=(2, 0)).to(device).eval()
    several.load_state_dict(plain.state_dict())
    left = []
    plain.blocks[0][-1].register_forward_hook(lambda _, __, out: left.append(out))
    with torch.no_grad():
        first, last = several(clip)
        assert torch.equal(last, plain(clip))
    assert torch.equal(first, left[0].permute(0, 4, 1, 2, 3))
    assert first.shape == (2, 16, 4, 16, 16)
    assert [len(DualFormer(**SMALL, out_indices=[i])(clip.cpu())) for i in range(3)] == [1, 1, 1]


@pytest.mark.parametrize('out_indices', [(3,), (-1,), (), (0, 5)])
def test_stages_that_are_not_there(out_indices):
    with pytest.raises(ValueError, match=r'names no stages from 0 to 2\.'):
        DualFormer(**SMALL, out_indices=out_indices)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 3])
def test_tokens_are_dropped_before_each_stage_that_learns(device, frozen):
    model = DualFormer(**SMALL, frozen_stages=frozen, drop_rate=0.5).train()
    seen = []
    model.pos_drop.register_forward_hook(lambda _, __, out: seen.append(out.shape[-1]))
    with torch.no_grad():
        model(torch.randn(1, 3, 8, 64, 64))
    assert seen == [16, 24, 32][max(frozen, 0) :]


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_cuda_autocast_follows_fp32(model, dtype):
    model.cuda().eval()
    clips = torch.randn(2, 3, 7, 50, 45, device='cuda')
    with torch.no_grad():
        expected = model(clips)
        with torch.autocast('cuda', dtype):
            output = model(clips).float()
    assert (output - expected).abs().mean() < 0.03 * expected.abs().mean()


@pytest.mark.parametrize('use_checkpoint', [False, 'selective', True])
def test_bf16_residual_stream_follows_fp32(model, use_checkpoint, device):
    lean = DualFormer(**SMALL, bf16_residual=True, use_checkpoint=use_checkpoint)
    lean.load_state_dict(model.state_dict())
    clips = torch.randn(2, 3, 7, 50, 45, device=device)
    seen = {}
    outputs = {}
    for name, net in (('fp32', model), ('bf16', lean)):
        net.to(device)
        for embed in net.patch_embeds:  # as autocast norms do on a GPU
            embed.register_forward_hook(lambda _, inputs, tokens: tokens.float())
        net.blocks[1][1].register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0].dtype})
        )
        with torch.autocast(device, torch.bfloat16):
            outputs[name] = net(clips)
        outputs[name].float().square().mean().backward()
    assert seen == dict(fp32=torch.float32, bf16=torch.bfloat16)
    assert outputs['bf16'].dtype == outputs['fp32'].dtype
    difference = (outputs['bf16'] - outputs['fp32']).abs().mean()
    assert 0 < difference < 0.05 * outputs['fp32'].abs().mean()
    for (name, a), b in zip(lean.named_parameters(), model.parameters(), strict=True):
        assert a.grad.isfinite().all(), name
        assert (a.grad - b.grad).norm() < 0.2 * b.grad.norm() + 0.5, name


@pytest.mark.parametrize('dtype', [None, torch.float16])
def test_bf16_residual_stream_needs_bf16_autocast(model, dtype):
    lean = DualFormer(**SMALL, bf16_residual=True).eval()
    lean.load_state_dict(model.eval().state_dict())
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad(), torch.autocast('cpu', dtype, enabled=dtype is not None):
        assert torch.equal(lean(clips), model(clips))
