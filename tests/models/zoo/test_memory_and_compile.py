"""Activation checkpointing and torch.compile of mmaction2's networks."""

import pytest
import torch
from torch import nn

from mmaction.registry import MODELS

IMAGE = dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
VIDEO = dict(depth=50, base_channels=8, stage_blocks=(1, 1, 1, 1), norm_eval=False)
FRAMES, CLIP = (4, 3, 32, 32), (2, 3, 4, 32, 32)
NETWORKS = {
    'ResNet': (IMAGE, FRAMES),
    'ResNetTSM': (dict(IMAGE, num_segments=4), FRAMES),
    'MobileNetV2TSM': (dict(num_segments=4), FRAMES),
    'TANet': (dict(IMAGE, depth=50, num_segments=4), FRAMES),
    'ResNet3d': (VIDEO, CLIP),
    'ResNet3dSlowOnly': (dict(VIDEO, lateral=False), CLIP),
    'X3D': (dict(gamma_w=1, gamma_b=2.25, gamma_d=0.4), CLIP),
    'VisionTransformer': (
        dict(img_size=32, embed_dims=24, depth=2, num_heads=2, num_frames=4),
        CLIP,
    ),
    'SwinTransformer3D': (
        dict(arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])),
        CLIP,
    ),
}


def network(kind, **changes):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=kind, **NETWORKS[kind][0], **changes)).train()
    for parameter in model.parameters():  # no branch starts at zero
        if not parameter.count_nonzero():
            nn.init.normal_(parameter, std=0.1)
    return model


def run(model, kind):
    """Output, and gradients of its square."""
    x = torch.randn(NETWORKS[kind][1], generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    out = model(x)
    out = out[0] if isinstance(out, tuple) else out
    out.square().mean().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('kind', NETWORKS)
def test_checkpointing_changes_no_gradient_and_keeps_fewer_activations(kind):
    results = []
    for with_cp in (False, True):
        kept = []
        model = network(kind, with_cp=with_cp)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, k=kept: k.append(t.numel()) or t, lambda t: t
        ):
            results.append((*run(model, kind), sum(kept)))
    (out, gradients, kept), (again, others, fewer) = results
    torch.testing.assert_close(again, out)
    assert list(gradients) == list(others)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert fewer < kept


@pytest.mark.parametrize('kind', ['ResNetTSM', 'ResNet3dSlowOnly', 'VisionTransformer'])
def test_compiled_networks_give_the_same(kind):
    out, gradients = run(network(kind), kind)
    compiled = network(kind)
    names = list(compiled.state_dict())
    compiled.compile(backend='aot_eager', fullgraph=True)
    again, others = run(compiled, kind)
    assert list(compiled.state_dict()) == names
    torch.testing.assert_close(again, out, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-5, msg=name)
