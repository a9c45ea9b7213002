"""Dense 3-D convolutions: the values and gradients of PyTorch's, without its slow ones."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mmaction.models.utils import conv3d_cpu
from mmaction.models.utils.conv3d_cpu import Conv3d, conv3d
from mmaction.models.utils.fast_layers import use_fast_layers

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='no oneDNN')

LAST = torch.channels_last_3d

KERNELS = [
    ((1, 1, 1), (1, 1, 1), (0, 0, 0)),
    ((1, 1, 1), (1, 2, 2), (0, 0, 0)),
    ((1, 1, 1), (2, 1, 1), (0, 0, 0)),
    ((1, 1, 1), (1, 1, 1), (0, 1, 1)),
    ((1, 1, 1), (2, 2, 2), (0, 1, 1)),
    ((3, 5, 5), (1, 2, 2), (1, 2, 2)),
    ((3, 1, 1), (1, 1, 1), (1, 0, 0)),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ((5, 1, 1), (2, 2, 2), (0, 0, 0)),
    ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
    ((1, 3, 5), (2, 2, 1), (0, 0, 2)),
    ((1, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (0, 1, 1)),
    ((2, 3, 1), (1, 1, 2), (1, 0, 0)),
    ((3, 1, 3), (1, 1, 1), (2, 0, 1)),
]


def draw(kernel, clips=1, grid=(6, 7, 8), channels=(16, 24)):
    generator = torch.Generator().manual_seed(sum(kernel))
    shapes = (clips, channels[0], *grid), (channels[1], channels[0], *kernel), channels[1:]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(('kernel', 'stride', 'padding'), KERNELS)
@pytest.mark.parametrize('clips', [1, 3])
@pytest.mark.parametrize('layout', [torch.contiguous_format, LAST])
def test_values_and_gradients_are_those_of_float64(kernel, stride, padding, clips, layout):
    inputs = draw(kernel, clips)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
    expected = F.conv3d(*(x.double() for x in inputs), stride, padding)
    found = conv3d(*inputs, stride, padding)
    assert found.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    gradients = zip(
        torch.autograd.grad(found, inputs, grad),
        torch.autograd.grad(expected, inputs, grad.double()),
        strict=True,
    )
    for x, y in gradients:
        torch.testing.assert_close(x, y.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(('kernel', 'stride', 'padding'), KERNELS)
@pytest.mark.parametrize(('clips', 'threads'), itertools.product([1, 3], [1, 2]))
def test_nothing_is_unfolded(kernel, stride, padding, clips, threads):
    """As PyTorch does with all of these where there is one clip and one thread."""
    inputs = draw(kernel, clips, grid=(6, 24, 24), channels=(64, 24))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiler, torch.no_grad():
            conv3d(*inputs, stride, padding)
    finally:
        torch.set_num_threads(before)
    names = {event.name for event in profiler.events()}
    assert names & {'aten::mkldnn_convolution', 'aten::linear'}
    assert not [name for name in names if 'slow' in name or 'thnn' in name]


def test_without_a_bias():
    x, weight, _ = draw((3, 3, 3))
    torch.testing.assert_close(conv3d(x, weight), F.conv3d(x, weight), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kernel', [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)])
def test_compiled_networks_learn_from_clips_of_any_size(kernel):
    layers = nn.Sequential(
        nn.Conv3d(16, 24, kernel, padding=tuple(k // 2 for k in kernel)), nn.BatchNorm3d(24)
    )
    use_fast_layers(layers)
    torch.compiler.reset()
    compiled = torch.compile(layers, fullgraph=True)
    for size in (12, 14, 16):
        x = draw(kernel, clips=2, grid=(4, size, size))[0]
        found, expected = (
            torch.autograd.grad(f(x).square().sum(), layers[0].weight) for f in (compiled, layers)
        )
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_graphs_for_other_software_hold_convolutions():
    conv = nn.Conv3d(16, 24, (3, 1, 1), padding=(1, 0, 0))
    conv.__class__ = Conv3d
    x = torch.zeros(1, 16, 6, 7, 8)
    graph = torch.export.export(conv, (x,)).graph
    found = [str(node.target) for node in graph.nodes if node.op == 'call_function']
    assert found == ['aten.conv3d.default']
    traced = str(torch.jit.trace(conv, x).inlined_graph)
    assert 'aten::_convolution' in traced
    assert 'aten::movedim' not in traced


def test_no_clips():
    x, weight = torch.zeros(0, 16, 4, 5, 6), torch.zeros(24, 16, 3, 1, 1)
    assert conv3d(x, weight).shape == (0, 24, 2, 5, 6)


def test_functions_of_torch_func_take_it():
    x, weight, bias = (t.detach() for t in draw((3, 1, 1), clips=2))
    one = lambda x: conv3d(x[None], weight, bias)[0]  # noqa: E731
    torch.testing.assert_close(torch.vmap(one)(x), conv3d(x, weight, bias))


@pytest.mark.parametrize(
    ('x', 'weight', 'message'),
    [
        ((1, 8, 4, 4, 4), (6, 9, 1, 1, 1), 'channels'),
        ((1, 8, 2, 4, 4), (6, 8, 3, 1, 1), r"Kernel size can't be greater than actual input size"),
        ((8, 4, 4, 4), (6, 9, 1, 1, 1), 'channels'),
    ],
)
def test_wrong_sizes_are_the_errors_of_pytorch(x, weight, message):
    with pytest.raises(RuntimeError, match=message):
        conv3d(torch.zeros(x), torch.zeros(weight))


@pytest.mark.parametrize(
    ('bias', 'stride', 'message'),
    [(1, (1, 1, 1), 'bias'), (24, (1, 0, 1), 'non-positive stride')],
)
def test_wrong_arguments_are_the_errors_of_pytorch(bias, stride, message):
    x, weight, _ = draw((1, 1, 1))
    with pytest.raises(RuntimeError, match=message):
        conv3d(x, weight, torch.zeros(bias), stride)


def test_other_inputs_are_left_to_pytorch(monkeypatch):
    x, weight, bias = (t.detach() for t in draw((3, 1, 1)))
    sizes = None, (1, 1, 1), (0, 0, 0)
    takes = lambda x, weight=weight: conv3d_cpu._takes(x, weight, *sizes)  # noqa: E731
    assert takes(x)
    assert not takes(x[0])
    assert not takes(x.double(), weight.double())
    assert not takes(x.to('meta'), weight.to('meta'))
    assert not takes(x.to_mkldnn(), weight)
    with torch.autocast('cpu', torch.bfloat16):
        assert not takes(x)
        assert conv3d(x, weight, bias).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not takes(x)
