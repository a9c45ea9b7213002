"""Depthwise convolutions: the values and gradients of PyTorch's, without its slow kernels."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from mmaction.models.utils import depthwise_cpu
from mmaction.models.utils.depthwise_cpu import (
    DepthwiseConv3d,
    depthwise_conv3d,
)
from mmaction.models.utils.fast_layers import use_fast_layers
from tests.models.utils.operators import (
    Names,
    assert_threads_do_not_change_a_bit,
    compiled_for,
    needs_kernel,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def plainly(x, weight, bias, padding, stride=1):
    return F.conv3d(x, weight, bias, stride, padding, groups=weight.shape[0])


def draw(kernel, grid=(4, 6, 5), channels=8):
    generator = torch.Generator().manual_seed(sum(kernel))
    shapes = (2, channels, *grid), (channels, 1, *kernel), (channels,)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


KERNELS = [
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((5, 5, 5), (2, 2, 2), (1, 1, 1)),
    ((3, 1, 1), (1, 0, 0), (1, 1, 1)),
    ((1, 3, 2), (0, 2, 1), (1, 1, 1)),
    ((3, 3, 3), (0, 0, 0), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (1, 2, 2)),
    ((2, 3, 1), (1, 0, 0), (2, 1, 2)),
]


@pytest.fixture(params=['AVX512', 'AVX2'])
def kernels(request, monkeypatch):
    """Let the kernels be those of an instruction set."""
    with compiled_for(request.param, depthwise_cpu._library, monkeypatch):
        yield


@needs_kernel
@pytest.mark.parametrize(
    ('kernel', 'padding', 'stride'),
    [*KERNELS, ((3, 3, 3), (1, 1, 1), (1, 4, 4)), ((1, 1, 2), (0, 0, 0), (3, 1, 1))],
)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(
    ('channels', 'grid'),
    [
        (8, (4, 6, 5)),
        (37, (19, 7, 23)),  # several tasks of frames and groups of channels, none of them full
        (16, (9, 5, 32)),
        (3, (5, 8, 8)),
    ],
)
def test_kernels_give_values_and_gradients_of_float64(
    kernels, kernel, padding, stride, layout, channels, grid
):
    inputs = draw(kernel, grid, channels)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
    wide = [x.detach().double().requires_grad_() for x in inputs]
    exact = plainly(*wide, padding, stride)
    with Names() as names:
        found = depthwise_conv3d(*inputs, padding, stride)
        grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
        ours = [found, *torch.autograd.grad(found, inputs, grad)]
    assert 'mmaction::cpu_depthwise_weights' in names.found
    by_kernel = inputs[0].is_contiguous()
    assert ('mmaction::cpu_depthwise' in names.found) is by_kernel
    assert ('aten::convolution' in names.found) is not by_kernel
    for x, y in zip(ours, [exact, *torch.autograd.grad(exact, wide, grad.double())], strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() < 2e-6 * y.abs().max() + 1e-6
    assert ours[1].is_contiguous() or not by_kernel


@needs_kernel
@pytest.mark.parametrize('others', [(0, 2), (1,)])
def test_any_layout_of_inputs_and_gradients(kernels, others):
    *inputs, bias = draw((3, 3, 3), (9, 6, 7), 20)
    grad, results = torch.randn(2, 20, 9, 6, 7), []
    for turned in ((), others):
        x, weight, g = (
            t.detach().permute(2, 4, 0, 3, 1).contiguous().permute(2, 4, 0, 3, 1)
            if i in turned
            else t.detach()
            for i, t in enumerate((*inputs, grad))
        )
        given = x.requires_grad_(), weight.requires_grad_(), bias
        y = depthwise_conv3d(*given, (1, 1, 1))
        results.append([y, *torch.autograd.grad(y, given, g)])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*results, strict=True))


@needs_kernel
@pytest.mark.parametrize('layout', LAYOUTS)
def test_axes_of_one_entry_may_have_any_stride(kernels, layout):
    for grid in ((1, 9, 1), (9, 1, 9), (1, 1, 1)):
        x, weight, bias = (t.detach() for t in draw((3, 3, 3), grid, 17))
        x = x.contiguous(memory_format=layout)
        strides = [0 if n == 1 else step for n, step in zip(x.shape, x.stride(), strict=True)]
        same = x.as_strided(x.shape, strides)
        assert torch.allclose(
            depthwise_conv3d(same, weight, bias, (1, 1, 1)),
            plainly(x, weight, bias, (1, 1, 1)),
            atol=1e-5,
        )
        found = depthwise_cpu._weight_gradient(same, same, [3, 3, 3], [1, 1, 1], [1, 1, 1])
        expected = depthwise_cpu._sums_of_products(x, x, (3, 3, 3), (1, 1, 1), (1, 1, 1))
        assert torch.allclose(found, expected, atol=1e-5)


@needs_kernel
def test_threads_do_not_change_a_bit(kernels):
    inputs = draw((3, 3, 3), (33, 9, 9), 40)

    def compute():
        y = depthwise_conv3d(*inputs, (1, 1, 1))
        return [y, *torch.autograd.grad(y.square().sum(), inputs[:2])]

    assert_threads_do_not_change_a_bit(compute)


@needs_kernel
def test_flops_are_counted(kernels):
    inputs = draw((3, 3, 3))
    with FlopCounterMode(display=False) as counter:
        plainly(*inputs, (1, 1, 1))
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        depthwise_conv3d(*inputs, (1, 1, 1)).sum().backward()
    assert counter.get_total_flops() == 3 * forward > 0


@needs_kernel
def test_gradients_of_gradients(kernels):
    results = []
    for function in (depthwise_conv3d, plainly):
        inputs = draw((3, 3, 3))
        y = function(*inputs, (1, 1, 1))
        grads = torch.autograd.grad(y.square().sum(), inputs[:2], create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in grads), inputs))
    for x, y in zip(*results, strict=True):
        assert torch.allclose(x, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


@needs_kernel
def test_operators_keep_the_rules_of_pytorch(kernels):
    x, weight, bias = (t.detach() for t in draw((3, 3, 3)))
    rules = [1, 1, 1], [1, 2, 2]
    for given in (None, bias):
        torch.library.opcheck(depthwise_cpu._forward, (x, weight, given, *rules))
    y = plainly(x, weight, bias, *rules)
    torch.library.opcheck(depthwise_cpu._weight_gradient, (x, y, [3, 3, 3], *rules))


@needs_kernel
def test_bf16_stays_with_pytorch_but_for_the_gradient_of_the_weights(kernels):
    inputs = [t.detach().bfloat16().requires_grad_() for t in draw((3, 3, 3))]
    with Names() as names:
        y = depthwise_conv3d(*inputs, (1, 1, 1))
        y.sum().backward()
    assert torch.equal(y, plainly(*inputs, (1, 1, 1)))
    ran = [f'mmaction::cpu_depthwise{end}' in names.found for end in ('', '_weights')]
    assert ran == [False, True]
    assert [t.grad.dtype for t in inputs] == [torch.bfloat16] * 3


@needs_kernel
def test_lack_of_memory_is_an_error(kernels):
    x, weight = torch.zeros(1, 2, 1, 1, 1), torch.zeros(2, 1, 1, 1, 1)
    y = torch.zeros(1, 2, 1, 1, 1)
    library, padding = depthwise_cpu._library(), (0, 1 << 24, 1 << 24)  # frames of 60 PB
    clips = depthwise_cpu._clips(x)
    arguments = clips, *map(depthwise_cpu._address, (weight, None, y))
    sizes = (1, 1, 1), (1, 1, 1), padding, (1, 1, 1)
    with pytest.raises(RuntimeError, match="can't allocate memory: its input has the shape"):
        depthwise_cpu._run(library.depthwise_forward, arguments, x, *sizes)
    arguments = clips, clips, depthwise_cpu._address(weight)
    with pytest.raises(RuntimeError, match="can't allocate memory: its input has the shape"):
        depthwise_cpu._run(library.depthwise_weight_gradient, arguments, x, *sizes)


@needs_kernel
def test_wrong_kernels_are_not_used(monkeypatch, tmp_path):
    source, compiler = Path(depthwise_cpu.__file__).with_suffix('.cpp'), tmp_path / 'compiler'
    (tmp_path / source.name).write_text(source.read_text().replace('* factor;', '+ factor;'))
    change = f"sed 's|{source}|{tmp_path / source.name} -I{source.parent}|'"
    compiler.write_text(f'#!/bin/sh\nexec g++ $(echo "$@" | {change})\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.warns(UserWarning, match='depthwise convolutions run .* not compute what PyTorch'):
        assert depthwise_cpu._library.__wrapped__() is None


@pytest.mark.parametrize(('kernel', 'padding', 'stride'), KERNELS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_without_kernels_values_and_gradients_are_those_of_pytorch(
    monkeypatch, kernel, padding, stride, layout
):
    monkeypatch.setattr(depthwise_cpu, '_library', lambda: None)
    inputs = draw(kernel)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
    expected = plainly(*inputs, padding, stride)
    found = depthwise_conv3d(*inputs, padding, stride)
    torch.testing.assert_close(found, expected)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    with Names() as names:
        ours = torch.autograd.grad(found, inputs, grad)
    assert 'aten::convolution_backward' not in names.found
    for x, y in zip(ours, torch.autograd.grad(expected, inputs, grad), strict=True):
        assert x.shape == y.shape
        assert torch.allclose(x, y, rtol=1e-4, atol=1e-5 * float(y.abs().max()))
    if layout == torch.contiguous_format:
        assert ours[0].is_contiguous()


def test_nothing_is_unfolded_with_one_thread():
    """As PyTorch does with kernels of one row and column."""
    x, weight, bias = (t.detach() for t in draw((3, 1, 1)))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            depthwise_conv3d(x.contiguous(memory_format=LAYOUTS[1]), weight, bias, (1, 0, 0))
    finally:
        torch.set_num_threads(before)
    assert 'aten::mkldnn_convolution' in {event.name for event in profiler.events()}


def test_without_kernels_larger_strides_are_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(depthwise_cpu, '_library', lambda: None)
    inputs = draw((3, 3, 3))
    with Names() as names:
        depthwise_conv3d(*inputs, (1, 1, 1), (1, 4, 4)).sum().backward()
    assert 'aten::convolution_backward' in names.found


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


@pytest.mark.parametrize('by_kernels', [True, False])
@pytest.mark.parametrize('frozen', [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(monkeypatch, frozen, by_kernels):
    if not by_kernels:
        monkeypatch.setattr(depthwise_cpu, '_library', lambda: None)
    elif depthwise_cpu._library() is None:
        pytest.skip('no kernels')
    inputs = draw((3, 3, 3))
    inputs[frozen].requires_grad_(False)
    y = depthwise_conv3d(*inputs, (1, 1, 1)).sum()
    with Names() as names:
        y.backward()
    operators = [['aten::convolution', 'aten::stack'], ['mmaction::cpu_depthwise']][by_kernels]
    if by_kernels:
        operators.append('mmaction::cpu_depthwise_weights')
    assert [name in names.found for name in operators] == [frozen != 0, frozen != 1]
    assert [x.grad is None for x in inputs] == [i == frozen for i in range(3)]


def test_functions_of_torch_func_take_it():
    x, weight, bias = (t.detach() for t in draw((3, 3, 3)))
    loss = lambda function: lambda w: function(x, w, bias, (1, 1, 1)).square().sum()  # noqa: E731
    found, expected = (torch.func.grad(loss(f))(weight) for f in (depthwise_conv3d, plainly))
    assert torch.allclose(found, expected, rtol=1e-4)


def test_graphs_for_other_software_hold_convolutions():
    layer = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1, groups=8))
    use_fast_layers(layer)
    x = torch.randn(1, 8, 4, 6, 5)
    for graph in (
        torch.export.export(layer, (x,)).graph,
        torch.jit.trace(layer, x).inlined_graph,
    ):
        assert 'conv' in str(graph)
        assert 'cpu_depthwise' not in str(graph)


@needs_kernel
@pytest.mark.parametrize('stride', [1, (1, 2, 2)])
def test_compiled_graphs_hold_the_kernels(kernels, stride):
    layer = DepthwiseConv3d(8, 8, 3, stride, padding=1, groups=8)
    x, targets = torch.randn(2, 8, 4, 6, 5), []

    def compiler(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    torch.compiler.reset()
    backend = aot_autograd(fw_compiler=compiler, bw_compiler=compiler)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    grads = []
    for function in (layer, compiled):
        given = x.clone().requires_grad_()
        y = function(given)
        grads.append([y, *torch.autograd.grad(y.square().sum(), [given, *layer.parameters()])])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*grads, strict=True))
    with torch.no_grad():
        assert torch.equal(compiled(x), layer(x))
    found = [name for name in targets if 'cpu_depthwise' in name]
    # Training: forward, its gradients; testing: forward.
    assert found == [f'mmaction.cpu_depthwise{end}.default' for end in ('', '', '_weights', '')]


@pytest.mark.parametrize(
    ('x', 'weight', 'bias', 'padding'),
    [
        ((2, 32, 4, 6, 5), (16, 1, 3, 3, 3), (16,), (1, 1, 1)),
        ((2, 8, 4, 6, 5), (16, 1, 3, 3, 3), (16,), (1, 1, 1)),
        ((2, 16, 4, 6, 5), (16, 2, 3, 3, 3), None, (1, 1, 1)),
        ((2, 16, 4, 6, 5), (16, 1, 3, 3, 3), (3,), (1, 1, 1)),
        ((2, 16, 4, 1, 5), (16, 1, 3, 2, 3), (16,), (1, 0, 1)),  # longer than the clip by 1
        ((2, 16, 4, 6), (16, 1, 3, 3), (16,), (1, 1)),
    ],
)
def test_wrong_sizes_are_the_errors_of_pytorch(x, weight, bias, padding):
    inputs = [None if size is None else torch.zeros(size) for size in (x, weight, bias)]
    with pytest.raises(RuntimeError) as error:
        F.conv3d(*inputs, padding=padding, groups=16)
    with pytest.raises(RuntimeError) as ours:
        depthwise_conv3d(*inputs, padding)
    assert str(ours.value) == str(error.value)


def test_other_inputs_are_left_to_pytorch():
    x, weight, bias = (t.detach() for t in draw((3, 3, 3)))
    other = bias.double()
    with pytest.raises(RuntimeError, match='should be the same'):
        depthwise_conv3d(x, weight, other, (1, 1, 1))
    assert torch.equal(
        depthwise_conv3d(x[0], weight, bias, (1, 1, 1)), plainly(x[0], weight, bias, (1, 1, 1))
    )
    assert torch.equal(  # more padding than the kernel is long
        depthwise_conv3d(x, weight, bias, (4, 3, 9)), plainly(x, weight, bias, (4, 3, 9))
    )
    wide = [t.double().requires_grad_() for t in (x, weight, bias)]
    grads = [
        torch.autograd.grad(f(*wide, (1, 1, 1)).square().sum(), wide)
        for f in (depthwise_conv3d, plainly)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
