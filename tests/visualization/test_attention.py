"""Attention maps against the plain DualFormer, whose weights are explicit."""

import numpy as np
import pytest
import torch

from mmaction.structures import ActionDataSample
from mmaction.visualization.attention import attention_blocks, attention_saliency
from tests.models.backbones.plain_dualformer import PlainDualFormer
from tests.visualization.conftest import CLIP


class Recording(PlainDualFormer):
    """Keeps the attention weights (B, h, N, M) of each product, block by block."""

    def __init__(self, model):
        super().__init__(model)
        self.weights = {}

    def attend(self, x, name, block):
        self.name = name
        self.grid = tuple(x.shape[2:])
        return super().attend(x, name, block)

    def attention(self, q, k, v, heads):
        d = q.shape[-1] // heads
        split = [t.unflatten(-1, (heads, d)).transpose(1, 2) for t in (q, k)]
        weights = (split[0] @ split[1].transpose(-1, -2) * d**-0.5).softmax(-1)
        self.weights.setdefault(self.name, (self.grid, []))[1].append(weights.numpy())
        return super().attention(q, k, v, heads)


def window_map(grid, window, recorded, query=None):
    """What each token gets, in loops over windows, queries and keys."""
    saliency = np.zeros((len(recorded[0]), *grid))
    recorded = iter(recorded)
    size = [min(a, b) for a, b in zip(window, grid, strict=True)]
    for start in np.ndindex(*(-(-n // s) for n, s in zip(grid, size, strict=True))):
        cut = tuple(
            slice(i * s, min(i * s + s, n)) for i, s, n in zip(start, size, grid, strict=True)
        )
        weights = next(recorded).mean(1)
        if query is None:
            got = weights.sum(1) / np.prod(grid)
        else:
            places = np.arange(np.prod(grid)).reshape(grid)[cut].flatten()
            asked = places == np.ravel_multi_index(query, grid)
            got = weights[:, asked].sum(1)
        place = (slice(None), *cut)
        saliency[place] += got.reshape(saliency[place].shape)
    return saliency


def pyramid_map(grid, kernels, recorded, query=None):
    """What each token gets of each cell that holds it, in loops over tokens."""
    weights = recorded[0].mean(1)
    asked = weights.mean(1) if query is None else weights[:, np.ravel_multi_index(query, grid)]
    saliency = np.zeros((len(weights), *grid))
    first = 0
    for kernel in kernels:
        counts = [-(-n // k) for n, k in zip(grid, kernel, strict=True)]
        cells = [
            np.ravel_multi_index([p // k for p, k in zip(place, kernel, strict=True)], counts)
            for place in np.ndindex(*grid)
        ]
        sizes = np.bincount(cells)
        for token, cell in zip(np.ndindex(*grid), cells, strict=True):
            place = (slice(None), *token)
            saliency[place] += asked[:, first + cell] / sizes[cell]
        first += len(sizes)
    assert first == weights.shape[-1]
    return saliency


@pytest.fixture
def sharp(model):
    """The model with weights so large that attention prefers some tokens."""
    for name, parameter in model.backbone.named_parameters():
        if name.endswith(('.q.weight', '.kv.weight', '.qkv.weight')):
            torch.nn.init.normal_(parameter, std=0.7)
    return model


@pytest.mark.parametrize('size', [CLIP, (7, 27, 45)], ids=['whole', 'padded'])
@pytest.mark.parametrize('query', [None, (1, 0, 2)])
def test_attention_maps_match_reference(sharp, size, query):
    clips = torch.randint(0, 256, (2, 1, 3, *size), dtype=torch.uint8)
    data = dict(inputs=list(clips), data_samples=[ActionDataSample(), ActionDataSample()])
    plain = Recording(sharp.backbone)
    with torch.no_grad():
        features = plain((clips[:, 0].float() - 120) / 60)
    for name, (grid, recorded) in plain.weights.items():
        block = sharp.backbone.get_submodule(name.removesuffix('.attn'))
        if hasattr(block.attn, 'window'):
            expected = window_map(grid, block.attn.window, recorded, query)
        else:
            kernels = [tuple(block.attn.sr.weight.shape[2:])]
            if block.attn.lr is not None:
                steps = (block.attn.lr[i].weight.shape[2:] for i in (0, 3))
                kernels.append(tuple(a * b for a, b in zip(*steps, strict=True)))
            expected = pyramid_map(grid, kernels, recorded, query)
        path = 'backbone/' + name.removesuffix('.attn').replace('.', '/')
        maps, logits, clip_shape = attention_saliency(sharp, data, path, query)
        torch.testing.assert_close(maps, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(maps.sum((1, 2, 3)), 1, rtol=1e-4)
        assert clip_shape == size
        torch.testing.assert_close(logits, sharp.cls_head(features), rtol=1e-3, atol=1e-4)
        assert maps.max() > 1.5 * maps[maps > 0].min()  # it is no even map
    assert len(plain.weights) == 4


def test_a_stage_without_pyramid_attends_to_its_own_tokens(data):
    from tests.visualization.conftest import build

    arch = dict(
        embed_dims=[8],
        num_heads=[2],
        depths=[2],
        mlp_ratios=[2],
        local_sizes=[(2, 4, 4)],
        fine_pysizes=[(4, 8, 12)],
        coarse_pysizes=[None],
    )
    model = build(dict(type='DualFormer', arch=arch, video_size=CLIP), 8)
    plain = Recording(model.backbone)
    with torch.no_grad():
        plain((torch.cat(data['inputs']).float() - 120) / 60)
    grid, recorded = plain.weights['blocks.0.1.attn']
    expected = recorded[0].mean((1, 2)).reshape(2, *grid)
    maps = attention_saliency(model, data, 'backbone/blocks/0/1')[0]
    torch.testing.assert_close(maps, torch.from_numpy(expected), rtol=1e-4, atol=1e-7)


def test_last_block_of_each_kind(model):
    assert attention_blocks(model) == {
        'local windows': 'backbone/blocks/1/0',
        'global pyramid': 'backbone/blocks/1/1',
    }
    assert not model.backbone.blocks[1][1]._forward_pre_hooks


@pytest.mark.parametrize(
    ('layer', 'query', 'text'),
    [
        ('backbone/norm', None, r'backbone/norm has no attention .* take a block of DualFormer'),
        ('backbone/blocks/-1/-1', (0, 9, 0), r'query \(0, 9, 0\) is no token .* \(4, 4, 6\)'),
        ('backbone/blocks/7', None, 'there is no layer'),
    ],
)
def test_errors(model, data, layer, query, text):
    with pytest.raises(ValueError, match=text):
        attention_saliency(model, data, layer, query)
    assert not model.backbone.blocks[1][1]._forward_pre_hooks


def test_other_backbones_have_no_attention_maps(conv_net):
    with pytest.raises(ValueError, match='the backbone ToyConvNet has no attention'):
        attention_blocks(conv_net)
