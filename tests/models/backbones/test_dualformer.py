"""DualFormer against its golden values and against the plain path."""

import copy
import json
import math
from pathlib import Path

import pytest
import timm
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from safetensors.torch import save_file
from torch import nn

from mmaction.models.backbones import DualFormer
from mmaction.models.backbones.dualformer import (
    DepthwisePool,
    PositionGenerator,
    _pool_copied,
    _pool_in_place,
    bare_state_dict,
)
from mmaction.registry import MODELS
from tests.golden.fill import check_probe, fill, load_deterministic, make_input
from tests.models.backbones.plain_dualformer import PlainDualFormer

GOLDEN = Path(__file__).parents[2] / 'golden'
FORWARD = json.loads((GOLDEN / 'forward_tiny.json').read_text())
PARAMETERS = {'tiny': 21.767, 'small': 48.908, 'base': 86.838}
# every kind of stage (fine and coarse, fine, none) at small cost
SMALL = dict(
    arch=dict(
        embed_dims=(16, 24, 32),
        num_heads=(2, 3, 4),
        depths=(2, 3, 2),
        mlp_ratios=(2, 2, 2),
        local_sizes=((2, 4, 4), (2, 2, 2), (2, 2, 2)),
        fine_pysizes=((2, 4, 4), (2, 2, 2), (4, 4, 4)),
        coarse_pysizes=((2, 2, 2), None, None),
    ),
    video_size=(8, 64, 64),
)


def randomized(model: nn.Module) -> nn.Module:
    """Weights large enough for every path to matter."""
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3 if tensor.ndim == 1 else 2 / tensor[0].numel() ** 0.5)
    return model


@pytest.fixture
def model() -> DualFormer:
    return randomized(DualFormer(**SMALL))


def shapes_of(model: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(value.shape)) for name, value in model.state_dict().items()]


def on_meta(*args, **kwargs) -> DualFormer:
    """A model without weights, which takes no time."""
    with torch.device('meta'):
        return DualFormer(*args, **kwargs)


@pytest.mark.parametrize('arch', PARAMETERS)
def test_state_dict_has_the_published_names_and_shapes(arch):
    model = on_meta(arch)
    golden = json.loads((GOLDEN / f'state_dict_{arch}.json').read_text())
    # In this order, too: it numbers the entries of a released checkpoint's optimizer state.
    assert shapes_of(model) == list(golden.items())
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
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.setdefault(t.data_ptr(), t.nbytes) and t, lambda t: t
        )
        with hooks:
            loss = net(clips).square().mean()
        kept[name] = sum(sizes.values())
        loss.backward()
    for (name, ours), theirs in zip(lean.named_parameters(), model.parameters(), strict=True):
        assert equal(ours.grad, theirs.grad), name
    for name, value in model.state_dict().items():
        assert equal(lean.state_dict()[name], value), name
    assert kept['lean'] < most * kept['plain']


@pytest.mark.parametrize('use_checkpoint', [False, 'selective', True])
def test_compiles_without_graph_breaks(device, model, use_checkpoint):
    torch.compiler.reset()
    weights = model.state_dict()
    model = DualFormer(**SMALL, use_checkpoint=use_checkpoint)
    model.load_state_dict(weights)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    clips = torch.randn(1, 3, 7, 50, 45)
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


@pytest.mark.parametrize('arch', PARAMETERS)
def test_published_temporal_pooling_and_coarse_grids_give_the_published_network(arch):
    given = dict(temporal_pooling=[-1, 1, 1, 1], coarse_pysizes=[(4, 4, 4)] * 4)
    model = on_meta(arch, **given)
    golden = json.loads((GOLDEN / f'state_dict_{arch}.json').read_text())
    assert shapes_of(model) == list(golden.items())
    assert [stage.grid[0] for stage in model.geometry] == [16, 16, 16, 16]
    # The release overwrites the first entry of the list that it is given.
    assert given == dict(temporal_pooling=[-1, 1, 1, 1], coarse_pysizes=[(4, 4, 4)] * 4)


# rates: temporal kernel of the patch embeddings, frames of the grids, kernels of sr and of lr.3
TEMPORAL = {
    (-1, 2, 1, 1): (
        (2, 2, 1, 1), (16, 8, 8, 8),
        [(2, 8, 8), (1, 4, 4), (1, 2, 2), None], [(4, 2, 2), (2, 1, 1), None, None],
    ),
    (2, 1, 2, 1): (
        (2, 1, 2, 1), (16, 16, 8, 8),
        [(2, 8, 8), (2, 4, 4), (1, 2, 2), None], [(4, 2, 2), (4, 1, 1), None, None],
    ),
    (7, 1, 1, 2): (
        (2, 1, 1, 2), (16, 16, 16, 8),
        [(2, 8, 8), (2, 4, 4), (2, 2, 2), None], [(4, 2, 2), (4, 1, 1), None, None],
    ),
}  # fmt: skip


@pytest.mark.parametrize('rates', TEMPORAL)
def test_temporal_pooling_gives_grids_and_kernels(rates):
    model = on_meta('tiny', temporal_pooling=list(rates))
    embeddings, frames, fine, coarse = TEMPORAL[rates]
    kernels = [tuple(embed.proj.weight.shape[2:]) for embed in model.patch_embeds]
    assert kernels == [(t, k, k) for t, k in zip(embeddings, (4, 2, 2, 2), strict=True)]
    sides = (56, 28, 14, 7)
    assert [s.grid for s in model.geometry] == [
        (t, n, n) for t, n in zip(frames, sides, strict=True)
    ]
    attention = [stage[1].attn for stage in model.blocks]
    assert [a.sr and tuple(a.sr.weight.shape[2:]) for a in attention] == fine
    assert [a.lr and tuple(a.lr[3].weight.shape[2:]) for a in attention] == coarse


@pytest.mark.parametrize('rates', [[-1, 2, 1], [2, 1, 2]])
def test_temporal_pooling_equals_the_plain_path(device, rates):
    model = randomized(DualFormer(**SMALL, temporal_pooling=rates)).eval()
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        found = model(clips)
        assert found.shape == (1, 32, 2, 4, 4)
        torch.testing.assert_close(found, PlainDualFormer(model)(clips), rtol=0, atol=1e-5)
        assert model(torch.randn(2, 3, 5, 50, 45)).shape == (2, 32, 2, 4, 3)


@pytest.mark.parametrize(
    'value',
    [True, False, None, 1, 'tttt', [], [-1, 1, 1], [-1, 1, 1, 1, 1], [-1, 0, 1, 1], [-1, 1, 1, -1],
     [-1, 1.0, 1, 1], [-1.0, 1, 1, 1], [-1, True, 1, 1], [None, 1, 1, 1], {'a': 1}],
)  # fmt: skip
def test_what_is_no_list_of_temporal_rates_is_one_error(value):
    with pytest.raises(ValueError, match=r'is no list of temporal rates') as error:
        on_meta('tiny', temporal_pooling=value)
    text = str(error.value)
    assert text.startswith(f'temporal_pooling={value!r} ')
    assert 'one integer for each of the 4 stages' in text
    assert '\n' not in text


@pytest.mark.parametrize('stages', [1, 2, 3, 5])
def test_time_is_kept_by_default_in_any_number_of_stages(stages):
    lists = dict(
        embed_dims=[8] * stages, num_heads=[2] * stages, depths=[2] * stages,
        mlp_ratios=[1] * stages, local_sizes=[(2, 2, 2)] * stages,
        fine_pysizes=[(1, 1, 1)] * stages, coarse_pysizes=[None] * stages,
    )  # fmt: skip
    model = on_meta(arch=lists, video_size=(8, 64, 64))
    assert [stage.grid[0] for stage in model.geometry] == [4] * stages
    if stages > 1:
        halved = on_meta(arch=lists, video_size=(8, 64, 64), temporal_pooling=[2] * stages)
        assert halved.geometry[1].grid[0] == 2


def test_stages_after_the_second_have_no_coarse_level_whatever_their_entries_say():
    for entries in ([(4, 4, 4), (4, 4, 4), (5, 3, 2), None], [(4, 4, 4), None, (7, 7, 7), 0]):
        model = on_meta('tiny', coarse_pysizes=entries)
        found = [stage[1].attn.lr is not None for stage in model.blocks]
        assert found == [True, entries[1] is not None, False, False]


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
    golden = json.loads((GOLDEN / 'state_dict_tiny.json').read_text())
    assert shapes_of(built) == list(golden.items())
    assert MODELS.parent is ROOT_MODELS


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='tinny'), r"arch='tinny' is none of tiny, small, base"),
        (dict(arch=dict(embed_dim=[8])), r"unknown keys \['embed_dim'\]"),
        (dict(depths=(2, 2, 2)), r'depths=\(2, 2, 2\) is for 3 stages'),
        (dict(num_heads=(3, 4, 8, 16)), r'num_heads\[0\]=3 does not divide embed_dims\[0\]=64'),
        (dict(depths=(2, 0, 2, 2)), 'at least one block'),
        (dict(use_checkpoint='mlp'), r"use_checkpoint='mlp' is none of False, 'selective'"),
        (dict(video_size=(32, 240, 224)), r'fine_pysizes\[0\].* 7 does not divide the 60 tokens'),
        (dict(video_size=None), 'video_size must be three positive integers'),
        (dict(patch_size=(2, True, 4)), 'patch_size must be three positive integers'),
        (dict(video_size=(32, 224)), 'video_size must be three positive integers'),
        (dict(local_sizes=((8, 7, 0),) * 4), r'local_sizes\[0\] must be three positive'),
        (dict(local_sizes=((8, 4, 7),) * 4), r'multiple of the height and width of the window'),
    ],
)
def test_invalid_geometry_names_the_value(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DualFormer(**kwargs)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((3, 8, 64, 64), r'takes clips of shape \(batch, 3, T, H, W\)'),
        ((1, 4, 8, 64, 64), r'not \(1, 4, 8, 64, 64\)'),
        ((1, 3, 8, 3, 64), r'\(8, 3, 64\) \(T, H, W\) is smaller than one patch \(2, 4, 4\)'),
    ],
)
def test_wrong_input_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


WINDOWS = [
    ((5, 7, 9), (2, 3, 4)), ((1, 1, 1), (8, 7, 7)), ((3, 9, 2), (2, 2, 2)), ((4, 7, 8), (8, 7, 7)),
    ((2, 5, 11), (2, 5, 3)), ((9, 1, 6), (4, 2, 5)), ((4, 6, 8), (2, 3, 4)), ((3, 9, 3), (8, 4, 4)),
]  # fmt: skip


@pytest.mark.parametrize(('grid', 'window'), WINDOWS)
def test_windows_at_the_border_match_reference(model, grid, window, device):
    """Forward and gradients: a window that the grid cuts has fewer tokens."""
    block = model.to(device).blocks[0][0].train()
    block.attn.window = window
    tokens = torch.randn(2, *grid, 16, device=device, requires_grad=True)
    weights = torch.randn(2, *grid, 16, device=device)
    first = tokens.movedim(-1, 1)
    parameters = list(block.attn.parameters())
    ours = block.attn(tokens)
    theirs = PlainDualFormer(model).local(first, 'blocks.0.0.attn', 2, window).movedim(1, -1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad((theirs * weights).sum(), [tokens, *parameters])
    found = torch.autograd.grad((ours * weights).sum(), [tokens, *parameters])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1, b.abs().max().item()))


def test_windows_have_no_mask_and_no_padding(model, monkeypatch):
    seen = []

    def attention(q, k, v, **kwargs):
        seen.append((q.shape[2], kwargs.get('attn_mask')))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, **kwargs)

    monkeypatch.setattr('mmaction.models.backbones.dualformer.attention', attention)
    model.blocks[0][0].attn(torch.randn(1, 3, 4, 6, 16))  # windows of 2 x 4 x 4
    assert sorted(seen) == [(8, None), (16, None), (16, None), (32, None)]


@pytest.mark.parametrize('kernel', [(2, 3, 4), (1, 4, 4), (2, 2, 1)])
def test_pooling_from_a_view_equals_pooling_a_copy(kernel, device):
    x = torch.randn(2, 5, 6, 7, 6, device=device)
    weight = torch.randn(6, 1, *kernel, device=device)
    torch.testing.assert_close(_pool_in_place(x, weight), _pool_copied(x, weight))


def test_pooling_equals_convolution(device):
    pool = DepthwisePool(6, (2, 3, 4))
    x = torch.randn(2, 4, 6, 8, 6)
    expected = nn.Conv3d.forward(pool, x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    assert torch.allclose(pool(x), expected, atol=1e-5)


class TestPretrained:
    """Loading weights through `pretrained`."""

    @staticmethod
    def state_2d(model: DualFormer) -> dict[str, torch.Tensor]:
        """A 2-D checkpoint: every 3-D name but `lr.3`, without the time axis."""
        state = {}
        for name, value in model.state_dict().items():
            if '.lr.3.' not in name:
                shape = tuple(value.shape)
                flat = shape[:2] + shape[3:] if value.ndim == 5 else shape
                state[name] = torch.as_tensor(fill(f'2d.{name}', flat))
        return state

    def test_2d_weights_are_inflated_as_published(self, tmp_path):
        model = DualFormer('tiny')
        torch.save({'model': self.state_2d(model)}, tmp_path / '2d.pth')
        model.pretrained = str(tmp_path / '2d.pth')
        model.init_weights()
        state = model.state_dict()
        for name, golden in json.loads((GOLDEN / 'inflate_tiny.json').read_text()).items():
            value = state[name].double()
            assert list(value.shape) == golden['shape']
            assert value.norm().item() == pytest.approx(golden['norm'], rel=1e-5, abs=1e-6)
            assert value.flatten()[0].item() == pytest.approx(golden['first'], abs=1e-7)
            assert value.flatten()[-1].item() == pytest.approx(golden['last'], abs=1e-7)
        assert torch.equal(
            state['blocks.0.0.attn.qkv.weight'],
            torch.from_numpy(fill('2d.blocks.0.0.attn.qkv.weight', (192, 64))),
        )

    def test_the_first_stages_see_a_still_video_as_twins_svt_sees_the_frame(self, tmp_path):
        torch.manual_seed(0)
        twins = timm.create_model('twins_svt_small').eval()
        for parameter in twins.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        save_file(twins.state_dict(), tmp_path / 'twins.safetensors')
        model = DualFormer('tiny', pretrained=str(tmp_path / 'twins.safetensors')).eval()
        model.init_weights()
        image = torch.randn(1, 3, 224, 224)
        clip = image.unsqueeze(2).expand(-1, -1, 32, -1, -1)

        expected, (height, width) = twins.patch_embeds[0](image)
        found = model.patch_embeds[0](clip.permute(0, 2, 3, 4, 1))
        assert found.shape == (1, 16, height, width, 64)
        for frame in found.flatten(2, 3).unbind(1):
            torch.testing.assert_close(frame, expected, rtol=1e-4, atol=1e-5)

        # A window of equal frames attends as one frame does. Only the epsilon of the norms differs.
        expected = twins.blocks[0][0](expected, (height, width))
        found = model.blocks[0][0](found)
        for frame in found.flatten(2, 3).unbind(1):
            torch.testing.assert_close(frame, expected, rtol=1e-3, atol=1e-3)

        # The position generator pads with zeros in time, so the first and the last frame differ.
        expected = twins.pos_block[0](expected, (height, width))
        frames = model.pos_block[0](found).flatten(2, 3).unbind(1)
        for frame in frames[1:-1]:
            torch.testing.assert_close(frame, expected, rtol=1e-3, atol=1e-3)
        for frame in (frames[0], frames[-1]):
            assert (frame - expected).abs().max() > 0.01

        # The pyramid cannot agree: its convolutions are depthwise, and it has a coarse level.
        dense = twins.state_dict()['blocks.0.1.attn.sr.weight']
        state = model.state_dict()
        diagonal = torch.stack([dense[c, c] for c in range(64)])
        for step in state['blocks.0.1.attn.sr.weight'][:, 0].unbind(1):
            torch.testing.assert_close(step, diagonal / 2)
        assert torch.equal(state['blocks.1.1.attn.q.weight'], twins.blocks[1][1].attn.q.weight)
        first, norm, _, last = model.blocks[0][1].attn.lr
        tokens = torch.randn(1, 16, 56, 56, 64)
        means = tokens.unflatten(2, (8, 7)).unflatten(4, (8, 7)).mean((3, 5))
        torch.testing.assert_close(first(tokens), means, rtol=1e-4, atol=1e-5)
        for buffer, value in dict(weight=1, bias=0, running_mean=0, running_var=1).items():
            assert getattr(norm, buffer).eq(value).all(), buffer
        assert norm.num_batches_tracked == 0
        assert first.bias.eq(0).all()
        assert last.bias.eq(0).all()
        cells = means.unflatten(1, (4, 4)).unflatten(3, (4, 2)).unflatten(5, (4, 2)).mean((2, 4, 6))
        torch.testing.assert_close(last(means), cells, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize('size', ['small', 'base', 'large'])
    def test_twins_svt_of_every_size_fills_its_model(self, tmp_path, size):
        arch = dict(small='tiny', base='small', large='base')[size]
        state = timm.create_model(f'twins_svt_{size}').state_dict()
        torch.save({'model': state}, tmp_path / 'twins.pth')
        model = DualFormer(arch, pretrained=str(tmp_path / 'twins.pth'))
        model.init_weights()
        own = model.state_dict()
        same = [name for name in own if name in state and own[name].shape == state[name].shape]
        assert all(torch.equal(own[name], state[name]) for name in same)
        assert all('.lr.' in name for name in own if name not in state)

    @pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
    @pytest.mark.parametrize('key', [None, 'state_dict', 'model'])
    def test_3d_weights_load_from_every_wrapping(self, model, tmp_path, prefix, key):
        state = {prefix + name: value for name, value in model.state_dict().items()}
        if prefix:
            state[prefix.replace('backbone', 'cls_head') + 'fc_cls.bias'] = torch.zeros(4)
        torch.save({key: state, 'meta': {}} if key else state, tmp_path / 'x.pth')
        other = DualFormer(**SMALL, pretrained=str(tmp_path / 'x.pth'), pretrained2d=False)
        other.init_weights()
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name

    @pytest.mark.parametrize('change', ['missing', 'unknown', 'shape'])
    @pytest.mark.parametrize('dimension', [2, 3])
    def test_nothing_is_loaded_by_half(self, model, tmp_path, change, dimension):
        state = self.state_2d(model) if dimension == 2 else dict(model.state_dict())
        if change == 'missing':
            del state['norm.weight']
        elif change == 'unknown':
            state['norm.wait'] = torch.zeros(3)
        else:
            state['norm.weight'] = torch.zeros(3)
        torch.save(state, tmp_path / 'bad.pth')
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.pretrained = str(tmp_path / 'bad.pth')
        with pytest.raises(ValueError, match=r'bad\.pth does not fit') as error:
            model.init_weights()
        assert ('norm.wait' if change == 'unknown' else 'norm.weight') in str(error.value)
        assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())

    def test_a_wrong_file_is_named(self, model, tmp_path):
        model.pretrained = str(tmp_path / 'none.pth')
        with pytest.raises(FileNotFoundError, match=r'none\.pth'):
            model.init_weights()
        torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
        model.pretrained = str(tmp_path / 'resnet.pth')
        with pytest.raises(ValueError, match=r'no DualFormer checkpoint.*conv1\.weight'):
            model.init_weights()
        torch.save(model.state_dict(), tmp_path / '3d.pth')
        model.pretrained, model.pretrained2d = str(tmp_path / '3d.pth'), True
        with pytest.raises(ValueError, match=r'pretrained2d=True, but .* holds 3-D weights'):
            model.init_weights()

    @pytest.mark.parametrize('rates', [(-1, 2, 1), (2, 1, 2)])
    def test_patch_embeddings_with_temporal_pooling_are_inflated(self, tmp_path, rates):
        model = randomized(DualFormer(**SMALL, temporal_pooling=rates))
        state = {name: value.clone() for name, value in self.state_2d(model).items()}
        torch.save(state, tmp_path / '2d.pth')
        model.pretrained = str(tmp_path / '2d.pth')
        model.init_weights()
        for i, length in enumerate((2, *rates[1:])):
            flat = state[f'patch_embeds.{i}.proj.weight']
            found = model.patch_embeds[i].proj.weight
            assert found.shape[2] == length
            assert all(torch.equal(frame, flat / length) for frame in found.unbind(2))

    def test_pooling_kernels_of_another_video_size_start_anew_and_are_named(
        self, tmp_path, monkeypatch
    ):
        lines = []
        monkeypatch.setattr(
            'mmaction.models.backbones.dualformer.print_log', lambda text, **_: lines.append(text)
        )
        model = randomized(DualFormer(**SMALL))
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'long.pth')
        short = DualFormer(**{**SMALL, 'video_size': (4, 64, 64)})
        before = copy.deepcopy(short.state_dict())
        own_kernels = {'blocks.0.1.attn.sr.weight', 'blocks.0.1.attn.lr.3.weight',
                       'blocks.1.1.attn.sr.weight'}  # fmt: skip
        assert {
            name for name, value in before.items() if value.shape != model.state_dict()[name].shape
        } == own_kernels
        short.pretrained = str(tmp_path / 'long.pth')
        short.init_weights()
        for name, value in short.state_dict().items():
            source = before if name in own_kernels else model.state_dict()
            assert torch.equal(value, source[name]), name
        text = '\n'.join(lines)
        assert f'Loaded {len(before) - 3} of {len(before)} tensors' in text
        assert all(name in text for name in own_kernels)

    def test_names_of_compiled_and_wrapped_models(self):
        wanted = ['blocks.0.0.norm1.bias']
        for prefix in (
            '_orig_mod.',
            'module._orig_mod.',
            '_orig_mod.module.',
            'backbone._orig_mod.',
            'module.backbone._orig_mod.',
            '_orig_mod.module.backbone._orig_mod.',
        ):
            state = {f'{prefix}blocks.0._orig_mod.0.norm1.bias': torch.zeros(1)}
            assert list(bare_state_dict({'state_dict': state})) == wanted, prefix

    def test_a_classifier_is_left_out(self):
        state = {'head.weight': torch.zeros(1), 'norm.weight': torch.zeros(1)}
        assert list(bare_state_dict({'model': state})) == ['norm.weight']


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
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens.grad, plain.grad, **tolerance)
    mine = position.proj[0]
    torch.testing.assert_close(mine.weight.grad, conv.weight.grad, **tolerance)
    torch.testing.assert_close(mine.bias.grad, conv.bias.grad, **tolerance)
