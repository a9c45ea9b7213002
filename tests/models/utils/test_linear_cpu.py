"""Linear layers as convolutions: the values and gradients of PyTorch's, where it pays."""

import copy
import io
import re
import shutil
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.fx.experimental.symbolic_shapes import free_symbols

from mmaction.models.utils import linear_cpu
from mmaction.models.utils.linear_cpu import Linear, linear, use_fast_linear
from tests.models.utils.operators import Names


@pytest.fixture(autouse=True)
def gains(monkeypatch):
    """Whatever the processor, let it be one that gains."""
    monkeypatch.setattr(linear_cpu, 'GAINS', True)


def convolves(function, *args):
    with Names() as names:
        function(*args)
    return any('convolution' in name for name in names.found)


def tokens(*shape, out=256):
    generator = torch.Generator().manual_seed(sum(shape))
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return draw(*shape), draw(out, shape[-1]), draw(out)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize('shape', [(2, 8, 14, 14, 128), (501, 128), (3, 171, 128)])
@pytest.mark.parametrize('has_bias', [True, False])
def test_values_and_gradients_are_those_of_pytorch(threads, shape, has_bias):
    inputs = [x.requires_grad_() for x in tokens(*shape)][: 2 + has_bias]
    assert convolves(linear, *inputs)
    results = []
    for function in (linear, F.linear):
        y = function(*inputs)
        grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
        results.append([y, *torch.autograd.grad(y, inputs, grad)])
    for x, y in zip(*results, strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() < 1e-5 * y.abs().max()


@pytest.mark.parametrize('count', [196, 512, 501, 1569, 1576, 50176])
def test_gradients_of_weights_are_computed_of_small_pictures(count):
    """Of large ones oneDNN computes them in up to three times the time."""
    x, weight, _ = tokens(count, 128, out=512)
    y = linear(x, weight.requires_grad_())
    assert y.shape == (count, 512)
    with Names() as names:
        y.sum().backward()
    for number, _, height, width in names.convolved[0]:
        assert number > 1
        assert height * width <= 196
        assert width > 1
        assert count <= number * height * width < count + 64


@pytest.mark.parametrize(('count', 'copies'), [(512, 0), (501, 1)])
def test_gradients_are_copied_where_pictures_were_filled_up(count, copies):
    x, weight, bias = tokens(count, 128)
    y = linear(x, weight.requires_grad_(), bias)
    with Names() as names:
        y.sum().backward()
    assert sum('slice_backward' in name for name in names.found) == copies


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='no oneDNN')
@pytest.mark.parametrize('count', [512, 501])
def test_onednn_runs_with_any_number_of_threads(threads, count):
    with torch.autograd.profiler.profile() as profile, torch.no_grad():
        linear(*tokens(count, 128))
    assert 'aten::mkldnn_convolution' in {event.name for event in profile.function_events}


@pytest.mark.parametrize('which', [0, 1, 2])
def test_gradients_of_many_tokens_are_as_exact_as_those_of_pytorch(which):
    inputs = [x.requires_grad_() for x in tokens(50176, 32, out=64)]
    results = {}
    for name, function in {'fast': linear, 'plain': F.linear, 'exact': F.linear}.items():
        given = [x.double() for x in inputs] if name == 'exact' else inputs
        results[name] = torch.autograd.grad(function(*given).mean(), inputs[which])[0]
    error, usual = ((results[k] - results['exact']).abs().max() for k in ('fast', 'plain'))
    assert error < 2 * usual + 1e-6 * results['exact'].abs().max()


def test_any_layout_of_tokens_and_weights():
    x, weight, bias = tokens(4, 128, 128)
    turned = x.permute(2, 0, 1).contiguous().permute(1, 2, 0), weight.t().contiguous().t(), bias
    assert convolves(linear, *turned)
    assert torch.allclose(linear(*turned), F.linear(x, weight, bias), atol=1e-4)
    for x in (torch.randn(1, 128, 501).mT, torch.randn(1, 501, 1).expand(1, 501, 128)):
        assert convolves(linear, x, weight, bias)
        assert linear(x, weight, bias).is_contiguous()


def test_it_convolves_where_it_pays():
    x, weight, bias = tokens(512, 128)
    assert convolves(linear, x, weight, bias)
    assert not convolves(linear, x[:100], *tokens(1, 128, out=4096)[1:])  # few tokens
    assert not convolves(linear, x, weight[:64], bias[:64])  # a small product
    assert not convolves(linear, *(y.bfloat16() for y in (x, weight, bias)))
    assert not convolves(linear, *(y.to('meta') for y in (x, weight, bias)))
    with torch.autocast('cpu', torch.bfloat16):
        assert not convolves(linear, x, weight, bias)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not convolves(linear, x, weight, bias)
    with mock.patch.object(linear_cpu, 'GAINS', False):
        assert not convolves(linear, x, weight, bias)
    assert not convolves(linear, x, weight.to_sparse_csr(), bias)


def test_graphs_for_other_software_hold_products():
    layer, x = Linear(128, 256), torch.randn(512, 128)
    assert convolves(layer, x)
    assert 'conv' not in str(torch.export.export(layer, (x,)).graph)
    assert 'conv' not in str(torch.jit.trace(layer, x).inlined_graph)


def test_compiled_layers_give_the_same():
    layer, x = Linear(128, 256), torch.randn(512, 128)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    assert torch.equal(compiled(x), layer(x))


def test_the_compiler_knows_the_strides_of_any_number_of_tokens():
    """Where it cannot sort them, it does not compile."""
    pixels = []

    def keep(graph, _):
        taken = (node.args[0] for node in graph.graph.nodes if node.target is torch.conv2d)
        pixels.extend(node.meta['example_value'] for node in taken)
        return graph

    torch.compiler.reset()
    x = torch.randn(501, 128, requires_grad=True)
    torch.compile(Linear(128, 256), fullgraph=True, dynamic=True, backend=keep)(x)
    assert free_symbols(pixels[0].shape)
    assert not free_symbols(pixels[0].stride())


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='no oneDNN')
@pytest.mark.skipif(shutil.which('g++') is None, reason='no compiler')
def test_the_compiler_leaves_the_order_of_channels():
    layer, x = Linear(128, 256), torch.randn(2, 256, 128, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: layer(F.gelu(x)))
    _, code = run_and_get_code(lambda: compiled(x).sum().backward())
    # Of what convolutions take and give, channels have a stride of 1 and images one of their own.
    given = re.findall(r'\((\d+, \d+, \d+, \d+)\), \((\d+, \d+, \d+, \d+)\)', ''.join(code))
    strides = {stride for size, stride in given if not size.endswith(', 1, 1')}
    assert strides
    assert all(re.match(r'[1-9]\d*, 1, ', stride) for stride in strides), strides


# ---------------------------------------------------------------- models


class Own(nn.Linear):
    pass


def test_models_keep_weights_hooks_and_other_layers():
    model = nn.Sequential(nn.Linear(8, 8), Own(8, 8), nn.Conv1d(8, 8, 1))
    calls, state = [], copy.deepcopy(model.state_dict())
    model[0].register_forward_hook(lambda *_: calls.append(1))
    use_fast_linear(model)
    assert [type(layer) for layer in model] == [Linear, Own, nn.Conv1d]
    copy.deepcopy(model)[0](torch.zeros(1, 8))
    assert calls
    model[0]._forward_hooks.clear()  # which no file can hold
    file = io.BytesIO()
    torch.save(model[0], file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is Linear
    assert all(torch.equal(loaded.state_dict()[k], state[f'0.{k}']) for k in ('weight', 'bias'))


def test_models_stay_as_they_are_where_nothing_is_gained():
    model = nn.Sequential(nn.Linear(8, 8))
    with mock.patch.object(linear_cpu, 'GAINS', False):
        use_fast_linear(model)
    assert type(model[0]) is nn.Linear
