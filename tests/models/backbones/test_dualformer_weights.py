"""Pretrained weights through `pretrained`: 3-D ones, and 2-D ones inflated."""

import copy
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from mmaction.models.backbones import DualFormer
from mmaction.models.backbones.dualformer_weights import bare_state_dict, inflate
from tests.golden.fill import fill
from tests.models.backbones.small_dualformer import GOLDEN, SMALL, randomized


def state_2d(model: DualFormer) -> dict[str, torch.Tensor]:
    """A 2-D checkpoint: every 3-D name but `lr.3`, without the time axis."""
    state = {}
    for name, value in model.state_dict().items():
        if '.lr.3.' not in name:
            shape = tuple(value.shape)
            flat = shape[:2] + shape[3:] if value.ndim == 5 else shape
            state[name] = torch.as_tensor(fill(f'2d.{name}', flat))
    return state


def test_2d_weights_are_inflated_as_published(tmp_path):
    model = DualFormer('tiny')
    torch.save({'model': state_2d(model)}, tmp_path / '2d.pth')
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


def test_the_first_stages_see_a_still_video_as_twins_svt_sees_the_frame(tmp_path):
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
def test_twins_svt_of_every_size_fills_its_model(size):
    """Names and shapes alone, which take no time; values: the test above."""
    with torch.device('meta'):
        state = timm.create_model(f'twins_svt_{size}').state_dict()
        model = DualFormer(dict(small='tiny', base='small', large='base')[size])
    own, filled = model.state_dict(), inflate(bare_state_dict({'model': state}), model)
    assert {k: v.shape for k, v in filled.items()} == {k: v.shape for k, v in own.items()}
    assert {name for name in own if name not in state} == {n for n in own if '.lr.' in n}


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
@pytest.mark.parametrize('key', [None, 'state_dict', 'model'])
def test_3d_weights_load_from_every_wrapping(model, tmp_path, prefix, key):
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
def test_nothing_is_loaded_by_half(model, tmp_path, change, dimension):
    state = state_2d(model) if dimension == 2 else dict(model.state_dict())
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


def test_a_wrong_file_is_named(model, tmp_path):
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
def test_patch_embeddings_with_temporal_pooling_are_inflated(tmp_path, rates):
    model = randomized(DualFormer(**SMALL, temporal_pooling=rates))
    state = {name: value.clone() for name, value in state_2d(model).items()}
    torch.save(state, tmp_path / '2d.pth')
    model.pretrained = str(tmp_path / '2d.pth')
    model.init_weights()
    for i, length in enumerate((2, *rates[1:])):
        flat = state[f'patch_embeds.{i}.proj.weight']
        found = model.patch_embeds[i].proj.weight
        assert found.shape[2] == length
        assert all(torch.equal(frame, flat / length) for frame in found.unbind(2))


def test_pooling_kernels_of_another_video_size_start_anew_and_are_named(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmaction.models.backbones.dualformer_weights.print_log',
        lambda text, **_: lines.append(text),
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


def test_names_of_compiled_and_wrapped_models():
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


def test_a_classifier_is_left_out():
    state = {'head.weight': torch.zeros(1), 'norm.weight': torch.zeros(1)}
    assert list(bare_state_dict({'model': state})) == ['norm.weight']
