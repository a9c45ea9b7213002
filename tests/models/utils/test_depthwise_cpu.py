"""Depthwise convolutions: the values and gradients of PyTorch's, without its slow kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmaction.models.utils.depthwise_cpu import (
    DepthwiseConv3d,
    depthwise_conv3d,
    use_fast_depthwise,
)
from mmaction.registry import MODELS
from tests.models.utils.operators import Names


def plainly(x, weight, bias, padding, stride=1):
    return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])


def draw(kernel, grid=(4, 6, 5)):
    generator = torch.Generator().manual_seed(sum(kernel))
    shapes = (2, 8, *grid), (8, 1, *kernel), (8,)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(
    ('kernel', 'padding', 'stride'),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((5, 5, 5), (2, 2, 2), (1, 1, 1)),
        ((3, 1, 1), (1, 0, 0), (1, 1, 1)),
        ((1, 3, 2), (0, 2, 1), (1, 1, 1)),
        ((3, 3, 3), (0, 0, 0), (1, 1, 1)),
        ((3, 3, 3), (1, 1, 1), (1, 2, 2)),
        ((2, 3, 1), (1, 0, 0), (2, 1, 2)),
    ],
)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_are_those_of_pytorch(kernel, padding, stride, layout):
    inputs = draw(kernel)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
    expected = plainly(*inputs, padding, stride)
    found = depthwise_conv3d(*inputs, padding, stride)
    assert torch.equal(found, expected)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    with Names() as names:
        ours = torch.autograd.grad(found, inputs, grad)
    assert 'aten::convolution_backward' not in names.found
    for x, y in zip(ours, torch.autograd.grad(expected, inputs, grad), strict=True):
        assert x.shape == y.shape
        assert torch.allclose(x, y, rtol=1e-4, atol=1e-5 * float(y.abs().max()))
    if layout == torch.contiguous_format:
        assert ours[0].is_contiguous()


def test_gradients_under_autocast_are_summed_in_fp32():
    inputs = draw((3, 3, 3), (7, 11, 13))
    grads = []
    for function in (depthwise_conv3d, plainly):
        with torch.autocast('cpu', torch.bfloat16, enabled=function is depthwise_conv3d):
            y = function(*inputs, (1, 1, 1))
        grads.append(torch.autograd.grad(y.float().sum(), inputs))
    for x, y in zip(*grads, strict=True):
        assert x.dtype == torch.float32
        assert torch.allclose(x, y, rtol=0.02, atol=0.02 * float(y.abs().max()))
    assert torch.equal(grads[0][2], grads[1][2])  # the number of positions, beyond bf16's digits


@pytest.mark.parametrize('frozen', [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen):
    inputs = draw((3, 3, 3))
    inputs[frozen].requires_grad_(False)
    y = depthwise_conv3d(*inputs, (1, 1, 1)).sum()
    with Names() as names:
        y.backward()
    ran = [f'aten::{name}' in names.found for name in ('convolution', 'stack')]
    assert ran == [frozen != 0, frozen != 1]
    assert [x.grad is None for x in inputs] == [i == frozen for i in range(3)]


def test_functions_of_torch_func_take_it():
    x, weight, bias = (t.detach() for t in draw((3, 3, 3)))
    loss = lambda function: lambda w: function(x, w, bias, (1, 1, 1)).square().sum()  # noqa: E731
    found, expected = (torch.func.grad(loss(f))(weight) for f in (depthwise_conv3d, plainly))
    assert torch.allclose(found, expected, rtol=1e-4)


def test_graphs_for_other_software_hold_convolutions():
    layer = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1, groups=8))
    use_fast_depthwise(layer)
    x = torch.randn(1, 8, 4, 6, 5)
    assert 'conv3d' in str(torch.export.export(layer, (x,)).graph)
    assert '_convolution' in str(torch.jit.trace(layer, x).inlined_graph)


def test_compiled_layers_give_the_same():
    layer = DepthwiseConv3d(8, 8, 3, padding=1, groups=8)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    grads = []
    for function in (layer, compiled):
        function(torch.ones(1, 8, 4, 6, 5)).square().sum().backward()
        grads.append(layer.weight.grad.clone())
        layer.zero_grad()
    assert torch.allclose(*grads)


def test_layers_of_small_strides_are_taken():
    class Own(nn.Conv3d):
        pass

    taken = [
        nn.Conv3d(8, 8, 3, padding=1, groups=8),
        nn.Conv3d(8, 8, (3, 1, 1), (1, 2, 2), groups=8),
    ]
    left = [
        nn.Conv3d(8, 8, 3, groups=4),
        nn.Conv3d(8, 16, 3, groups=8),
        nn.Conv3d(1, 1, 3),
        nn.Conv3d(8, 8, 3, (1, 4, 4), groups=8),
        nn.Conv3d(8, 8, 3, dilation=2, groups=8),
        nn.Conv3d(8, 8, 3, padding='same', groups=8),
        nn.Conv3d(8, 8, 3, padding=1, padding_mode='replicate', groups=8),
        nn.Conv3d(8, 8, 3, padding=(3, 1, 1), groups=8),
        nn.Conv2d(8, 8, 3, groups=8),
        Own(8, 8, 3, groups=8),
    ]
    before = [type(layer) for layer in left]
    x = torch.randn(1, 8, 4, 6, 5)
    expected = [layer(x) for layer in taken]
    use_fast_depthwise(nn.ModuleList([*taken, *left]))
    assert [type(layer) for layer in taken] == [DepthwiseConv3d] * 2
    assert [type(layer) for layer in left] == before
    assert all(torch.equal(layer(x), y) for layer, y in zip(taken, expected, strict=True))


def test_recognizers_have_them():
    backbone = dict(type='X3D', gamma_w=1.0, gamma_b=2.25, gamma_d=1.0)
    head = dict(type='I3DHead', num_classes=2, in_channels=8)
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head))
    layers = [m for m in model.modules() if isinstance(m, DepthwiseConv3d)]
    assert len(layers) == 1 + 11  # that of the stem, and one in each block
