"""Grad-CAM against computations of its own."""

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmaction.registry import MODELS
from mmaction.visualization.grad_cam import GradCAM, overlay, scale_saliency
from tests.visualization.conftest import CLASSES, CLIP, build


def clips_of(data):
    return (torch.cat(data['inputs']).float() - 120) / 60


def run_from_block(backbone, tokens, stage, block):
    """The rest of DualFormer behind one block, from its channels-last output."""
    x = tokens
    if block == 0:
        x = backbone.pos_block[stage](x)
    for later in backbone.blocks[stage][block + 1 :]:
        x = later(x)
    for i in range(stage + 1, len(backbone.blocks)):
        x = backbone.patch_embeds[i](x)
        for j, later in enumerate(backbone.blocks[i]):
            x = later(x)
            if j == 0:
                x = backbone.pos_block[i](x)
    return backbone.norm(x).permute(0, 4, 1, 2, 3)


def tokens_of_block(backbone, clips, stage, block):
    x = clips.permute(0, 2, 3, 4, 1)
    for i in range(stage + 1):
        x = backbone.patch_embeds[i](x)
        for j, layer in enumerate(backbone.blocks[i]):
            x = layer(x)
            if (i, j) == (stage, block):
                return x
            if j == 0:
                x = backbone.pos_block[i](x)
    raise AssertionError


@pytest.mark.parametrize(('stage', 'block'), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_grad_cam_matches_independent_computation(model, data, stage, block):
    """The network is cut at the block: gradients come from the second half alone."""
    labels = [2, 4]
    with torch.no_grad():
        tokens = tokens_of_block(model.backbone, clips_of(data), stage, block)
    tokens.requires_grad_()
    logits = model.cls_head(run_from_block(model.backbone, tokens, stage, block))
    expected = []
    for i, label in enumerate(labels):
        gradient = torch.autograd.grad(logits[i, label], tokens, retain_graph=True)[0][i]
        saliency = torch.stack(
            [
                (step * grad.flatten(0, 1).mean(0)).sum(-1).clamp(min=0)
                for step, grad in zip(tokens[i], gradient, strict=True)
            ]
        )
        expected.append(saliency.detach())

    cam = GradCAM(model, f'backbone/blocks/{stage}/{block}')
    maps, found, clip_shape = cam.raw_saliency(data, labels)
    assert clip_shape == CLIP
    torch.testing.assert_close(found, logits.detach())
    torch.testing.assert_close(maps, torch.stack(expected), rtol=1e-4, atol=1e-6)
    assert (maps > 0).any(dim=(1, 2, 3)).all()


def test_gradients_agree_with_finite_differences(model, data):
    """The weights, too, need no autograd: the logit is nudged at the head's input."""
    label = 1
    with torch.no_grad():
        feats = model.backbone.double()(clips_of(data).double())
        head = model.cls_head.double()
        weights = torch.zeros(feats.shape[1:3], dtype=torch.double)  # (C, t)
        cells = feats[0, 0, 0].numel()
        for c in range(feats.shape[1]):
            for t in range(feats.shape[2]):
                nudged = feats[:1].clone()
                nudged[0, c, t] += 1e-4
                rise = head(nudged)[0, label] - head(feats[:1])[0, label]
                weights[c, t] = rise / 1e-4 / cells
        expected = (feats[0] * weights[..., None, None]).sum(0).clamp(min=0)
    model.float()
    maps, _, _ = GradCAM(model, 'backbone').raw_saliency(data, [label, label])
    torch.testing.assert_close(maps[0], expected.float(), rtol=1e-3, atol=1e-5)


def test_last_block_is_the_default_and_best_class_is_explained(model, data):
    cam = GradCAM(model)
    assert cam.layer_name == 'backbone/blocks/1/1'
    saliency, logits = cam.saliency(data)
    torch.testing.assert_close(saliency, cam.saliency(data, logits.argmax(1).tolist())[0])
    other = (logits.argmax(1) + 1) % CLASSES
    assert not torch.allclose(saliency, cam.saliency(data, other.tolist())[0], atol=1e-3)


def test_grad_cam_plus_plus_matches_paper_formula(model, data):
    """Weights from powers of the gradient, for each position in plain loops."""
    labels = [0, 3]
    cam = GradCAM(model, 'backbone/blocks/1/0', method='grad-cam++')
    activation, gradient, _, _ = cam._record(data, labels)
    maps = cam.raw_saliency(data, labels)[0].numpy()
    a, g = activation.double().numpy(), gradient.double().numpy()
    batch, channels, steps, height, width = a.shape
    expected = np.zeros((batch, steps, height, width))
    for b, c, t in np.ndindex(batch, channels, steps):
        total = a[b, c, t].sum()
        weight = 0.0
        for i, j in np.ndindex(height, width):
            grad = g[b, c, t, i, j]
            share = grad**2 / (2 * grad**2 + grad**3 * total)
            weight += share * max(grad, 0)
        expected[b, t] += weight * a[b, c, t]
    np.testing.assert_allclose(maps, expected.clip(min=0), rtol=1e-3, atol=1e-6)
    assert not np.allclose(
        maps, GradCAM(model, 'backbone/blocks/1/0').raw_saliency(data, labels)[0]
    )


def test_hires_cam_uses_gradient_of_each_position(model, data):
    """The sum of the signed map is the logit's rise along the tokens, by finite differences."""
    cam = GradCAM(model, 'backbone/blocks/0/1', method='hires-cam')
    activation, gradient, _, _ = cam._record(data, [2, 4])
    a, g = activation.numpy(), gradient.numpy()
    expected = np.zeros((2, *a.shape[2:]))
    for b, c in np.ndindex(a.shape[:2]):
        expected[b] += a[b, c] * g[b, c]
    maps = cam.raw_saliency(data, [2, 4])[0]
    np.testing.assert_allclose(maps, expected.clip(min=0), rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        model.double()
        tokens = tokens_of_block(model.backbone, clips_of(data).double(), 0, 1)
        rise = []
        for step in (1 + 1e-5, 1 - 1e-5):
            feats = run_from_block(model.backbone, tokens * step, 0, 1)
            rise.append(model.cls_head(feats)[[0, 1], [2, 4]])
    slope = (rise[0] - rise[1]) / 2e-5
    np.testing.assert_allclose(expected.sum((1, 2, 3)), slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('method', ['grad-cam', 'grad-cam++', 'hires-cam'])
@pytest.mark.parametrize(
    'layer', ['backbone/blocks/0', 'backbone/norm', 'backbone/blocks/1/1/norm2', 'backbone',
              'backbone/patch_embeds/0', 'backbone/blocks/0/1/attn', 'backbone/pos_block/1']
)  # fmt: skip
def test_any_block_stage_or_norm(model, data, layer, method):
    saliency, _ = GradCAM(model, layer, method=method).saliency(data)
    assert saliency.shape == (2, *CLIP)
    assert saliency.isfinite().all()
    assert saliency.amin() == 0
    assert saliency.amax() <= 1


@pytest.mark.parametrize('layer', ['first', 'relu', 'second', ''])
def test_maps_of_convolutions_with_inplace_relu(conv_net, data, layer):
    """What follows a layer may overwrite its output; the map is of what it gave."""
    name = 'backbone' + (f'/{layer}' if layer else '')
    maps, logits, _ = GradCAM(conv_net, name).raw_saliency(data, [0, 0])
    net, clips = conv_net.backbone, clips_of(data)
    start = dict(first=net.first(clips), relu=F.relu(net.first(clips)))
    activation = start.get(layer, net(clips)).detach().requires_grad_()
    rest = {'first': lambda x: net.second(F.relu(x)), 'relu': net.second}.get(layer, lambda x: x)
    torch.testing.assert_close(logits, conv_net.cls_head(rest(activation)).detach())
    score = conv_net.cls_head(rest(activation))[:, 0].sum()
    weights = torch.autograd.grad(score, activation)[0].mean((3, 4), keepdim=True)
    torch.testing.assert_close(maps, (weights * activation.detach()).sum(1).clamp(min=0))


@pytest.mark.parametrize(('name', 'first'), [('-4', 13), ('3', 4), ('5/branch1', None)])
def test_maps_of_a_torchvision_network(data, name, first):
    """S3D is cut behind a layer of its list; of a layer within one, only the shape is known."""
    model = build(dict(type='torchvision.s3d'), 1024)
    layer = f'backbone/features/{name}'
    maps, logits, _ = GradCAM(model, layer).raw_saliency(data, [1, 4])
    assert maps.shape[0] == 2
    assert maps.any()
    if first is None:
        return
    layers = model.backbone.net.features
    with torch.no_grad():
        start = layers[:first](clips_of(data))
    start.requires_grad_()
    found = model.cls_head(layers[first:](start))
    torch.testing.assert_close(logits, found.detach(), rtol=1e-3, atol=1e-4)
    (gradient,) = torch.autograd.grad(found[0, 1] + found[1, 4], start)
    expected = (gradient.mean((3, 4), keepdim=True) * start.detach()).sum(1).clamp(min=0)
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-5)


def test_one_cell_map_is_an_error(data):
    """S3D halves height and width five times, so that 32 pixels end as one."""
    model = build(dict(type='torchvision.s3d'), 1024)
    clips = [clip[..., :32] for clip in data['inputs']]
    said = (
        r'layer backbone has a map of 1 x 1 x 1 for 8 frames of 32 x 32 pixels, so its saliency .*'
    )
    earlier = r'such as backbone/features/10, backbone/features/11, backbone/features/12$'
    with pytest.raises(ValueError, match=said + earlier):
        GradCAM(model).saliency(dict(data, inputs=clips))
    # the layer that the message names last is one that works
    maps = GradCAM(model, 'backbone/features/12').raw_saliency(dict(data, inputs=clips))[0]
    assert maps[0].numel() > 1


@MODELS.register_module(force=True)
class RedPatches(torch.nn.Module):
    """One channel: the redness of each patch of 2 x 4 x 4 pixels."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.AvgPool3d((2, 4, 4))

    def forward(self, x):
        return self.patches(x[:, :1] - x[:, 1:].mean(1, keepdim=True))


def test_saliency_covers_class_evidence(data):
    """A class that is the sum of redness: the saliency is where and when the square is."""
    model = build(dict(type='RedPatches'), 1)
    model.cls_head.fc_cls.weight.data.fill_(0)
    model.cls_head.fc_cls.weight.data[2] = 1.0
    clip = torch.full((1, 3, *CLIP), 120, dtype=torch.uint8)
    clip[0, 0, 4:, 8:16, 32:44] = 250
    batch = dict(inputs=[clip], data_samples=data['data_samples'][:1])
    saliency, logits = GradCAM(model, 'backbone').saliency(batch)
    assert int(logits.argmax()) == 2
    box = torch.zeros(CLIP, dtype=torch.bool)
    box[4:, 8:16, 32:44] = True
    inside = saliency[0][box].sum() / saliency.sum()
    assert inside > 0.6 > box.float().mean() * 10
    assert saliency[0, :2].max() < 0.05
    assert saliency[0].flatten().argmax() in box.flatten().nonzero()
    # a class that red speaks against has no saliency
    model.cls_head.fc_cls.weight.data[1] = -1.0
    assert not GradCAM(model, 'backbone').saliency(batch, [1])[0].any()


def test_call_blends_frames_and_colors(model, data):
    cam = GradCAM(model, colormap='magma')
    blended, logits = cam(data, use_labels=True, alpha=0.3)
    assert blended.shape == (2, *CLIP, 3)
    saliency, same = cam.saliency(data, [3, 1])
    torch.testing.assert_close(logits, same)
    frame = data['inputs'][1][0, :, 5, 7, 11].float() / 255
    color = torch.tensor(matplotlib.colormaps['magma'](float(saliency[1, 5, 7, 11]))[:3])
    torch.testing.assert_close(
        blended[1, 5, 7, 11], (0.3 * color + 0.7 * frame).float(), rtol=0, atol=5e-3
    )


def test_views_count_as_clips(model, data):
    views = dict(inputs=[torch.cat(data['inputs'])], data_samples=data['data_samples'][:1])
    torch.testing.assert_close(
        GradCAM(model).saliency(views)[0], GradCAM(model).saliency(data)[0], rtol=1e-4, atol=1e-5
    )
    blended, _ = GradCAM(model)(views, use_labels=True)
    torch.testing.assert_close(
        blended, overlay(torch.cat(data['inputs']).permute(0, 2, 3, 4, 1) / 255,
                         GradCAM(model).saliency(data, [3, 3])[0]),
        rtol=1e-4, atol=5e-3,
    )  # fmt: skip


def test_model_is_left_as_it_was(model, data):
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    with torch.no_grad():
        GradCAM(model)(data)
    assert all(p.grad is None for p in parameters)
    assert not parameters[0].requires_grad
    assert not model.backbone.blocks[1][1]._forward_hooks


def test_scale_saliency():
    maps = torch.zeros(2, 1, 1, 2)
    maps[0, 0, 0] = torch.tensor([2.0, 6.0])
    saliency = scale_saliency(maps, (1, 1, 4))
    torch.testing.assert_close(saliency[0].flatten(), torch.tensor([0, 0.25, 0.75, 1.0]))
    assert not saliency[1].any()


@pytest.mark.parametrize(
    ('changes', 'labels', 'text'),
    [
        (dict(method='magic'), None, "method='magic' must be one of"),
        (dict(colormap='mud'), None, "colormap 'mud' is none of Matplotlib"),
        ({}, [1, 9], 'class 9 is outside the 5 classes'),
        ({}, [1], '1 labels for 2 clips'),
        (dict(target_layer_name='cls_head/fc_cls'), None, 'no map over the time'),
        (dict(target_layer_name='data_preprocessor'), None, 'takes a layer that runs'),
    ],
)
def test_errors(model, data, changes, labels, text):
    with pytest.raises(ValueError, match=text):
        GradCAM(model, **changes).saliency(data, labels)


def test_overlay_refuses_alpha_outside_its_range():
    with pytest.raises(ValueError, match=r'alpha=1\.5 must be from 0 to 1'):
        overlay(torch.zeros(1, 1, 3), torch.zeros(1, 1), alpha=1.5)


def test_saliency_of_each_clip_reaches_one():
    """Clips of one batch may differ in strength by orders of magnitude."""
    maps = torch.rand(3, 2, 2, 2) * torch.tensor([1.0, 1e-3, 50.0]).view(3, 1, 1, 1)
    saliency = scale_saliency(maps, (4, 8, 8))
    assert saliency.amax((1, 2, 3)).tolist() == [1, 1, 1]
    assert saliency.amin((1, 2, 3)).tolist() == [0, 0, 0]
    for i in range(3):  # and is what it is alone
        torch.testing.assert_close(saliency[i], scale_saliency(maps[i : i + 1], (4, 8, 8))[0])


def test_transparent_saliency_gives_the_frames(model, data):
    blended, _ = GradCAM(model)(data, alpha=0.0)
    frames = torch.cat(data['inputs']).permute(0, 2, 3, 4, 1)
    assert torch.equal((blended * 255).round().byte(), frames)
    torch.testing.assert_close(blended, frames / 255, rtol=0, atol=1e-6)


def test_opaque_overlay_has_the_ends_of_the_colormap():
    saliency = torch.tensor([[0.0, 1.0]])
    found = overlay(torch.rand(1, 2, 3), saliency, 'magma', 1.0)[0]
    table = matplotlib.colormaps['magma']
    expected = torch.tensor([table(0)[:3], table(255)[:3]])
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=1e-6)
