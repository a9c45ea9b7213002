"""The attention kernel for CPUs: the values and gradients of PyTorch's, where it may run."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmaction.models.utils import attention_cpu
from mmaction.models.utils.attention_cpu import cpu_attention, takes
from mmaction.models.utils.attention_ops import attention
from tests.models.utils.operators import (
    assert_threads_do_not_change_a_bit,
    compiled_for,
    needs_kernel,
)


@pytest.fixture(params=['AVX512', 'AVX2'])
def kernel(request, monkeypatch):
    """Let the kernel be that of an instruction set."""
    with compiled_for(request.param, attention_cpu._library, monkeypatch):
        yield


def tokens(B, h, L, M, d, factor=1.0, dtype=torch.float32):
    """q, k, v as the model has them: views of the projections of tokens."""
    generator = torch.Generator().manual_seed(B + h + L + M + d)
    q = factor * torch.randn(B, L, h, d, generator=generator, dtype=torch.float64)
    kv = torch.randn(B, M, 2, h, d, generator=generator, dtype=torch.float64)
    k, v = kv.to(dtype).permute(2, 0, 3, 1, 4).unbind(0)
    return q.to(dtype).transpose(1, 2), k, v


def values_and_gradients(function, q, k, v, grad):
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    y = function(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, grad)]


@needs_kernel
@pytest.mark.parametrize(
    ('shape', 'factor'),
    [
        ((2, 3, 392, 392, 32), 1.0),  # a window of 8 x 7 x 7
        ((1, 2, 3136, 456, 32), 1.0),  # a pyramid; several tasks per head
        ((1, 2, 784, 1568, 32), 1.0),  # keys in several blocks, forward and backward
        ((1, 1, 1029, 1025, 32), 1.0),  # one key in the last block, five queries in the last task
        ((3, 1, 1, 1, 32), 1.0),
        ((2, 2, 7, 17, 32), 1.0),
        ((2, 2, 50, 33, 64), 1.0),
        ((1, 2, 40, 97, 96), 1.0),
        ((1, 2, 100, 1100, 32), 100.0),  # weights of nearly 0 and 1
        ((1, 2, 100, 100, 32), 1e-20),
    ],
)
def test_values_and_gradients_are_those_in_float64(kernel, shape, factor):
    q, k, v = tokens(*shape, factor, dtype=torch.float64)
    grad = torch.randn(q.shape, dtype=torch.float64)
    scale = 0.3
    function = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=scale)  # noqa: E731
    exact = values_and_gradients(function, q, k, v, grad)
    narrow = [x.float() for x in (q, k, v, grad)]
    pytorch = values_and_gradients(function, *narrow)
    found = values_and_gradients(lambda q, k, v: cpu_attention(q, k, v, scale), *narrow)
    for x, y, other in zip(found, exact, pytorch, strict=True):
        error, usual = (x - y).abs().max(), (other - y).abs().max()
        assert error <= 3 * usual + 2e-6 * y.abs().max()


@needs_kernel
@pytest.mark.parametrize('learned', [True, False])
@pytest.mark.parametrize(
    ('shape', 'of_bias'),
    [
        ((2, 3, 392, 392), (1, 3, 392, 392)),  # a window and a table of positions
        ((2, 6, 98, 98), (6, 98, 98)),  # windows beside heads
        ((1, 2, 1030, 517), (1, 2, 1030, 517)),  # two tasks, and keys in two blocks
        ((3, 2, 20, 30), (3, 1, 1, 30)),  # a mask of keys
        ((3, 2, 20, 30), (20, 1)),
    ],
)
def test_bias_and_its_gradient_are_those_in_float64(kernel, shape, of_bias, learned):
    q, k, v = tokens(*shape, 32, dtype=torch.float64)
    grad, bias = torch.randn(q.shape), torch.randn(of_bias)
    results = []
    for dtype, function in (
        (torch.float64, lambda q, k, v, bias: F.scaled_dot_product_attention(q, k, v, bias)),
        (torch.float32, lambda q, k, v, bias: cpu_attention(q, k, v, 32**-0.5, bias)),
    ):
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v, bias)]
        inputs[3].requires_grad_(learned)
        y = function(*inputs)
        results.append([y, *torch.autograd.grad(y, inputs[: 3 + learned], grad.to(dtype))])
    for x, y in zip(*results, strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() < 3e-6 * x.abs().max() + 3e-6


@needs_kernel
def test_keys_that_the_bias_leaves_out_have_no_weight():
    q, k, v = tokens(1, 1, 30, 40, 32)
    bias = torch.zeros(40).where(torch.arange(40) < 33, -torch.inf)
    found = cpu_attention(q, k, v, 0.2, bias)
    assert torch.allclose(found, cpu_attention(q, k[:, :, :33], v[:, :, :33], 0.2), atol=1e-6)


@needs_kernel
def test_any_layout_of_inputs_and_gradients(kernel):
    q, k, v = tokens(2, 2, 60, 70, 32)
    grad = torch.randn(q.shape)
    expected = values_and_gradients(lambda q, k, v: cpu_attention(q, k, v, 0.2), q, k, v, grad)
    layouts = [x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for x in (q, k, v, grad)]
    found = values_and_gradients(lambda q, k, v: cpu_attention(q, k, v, 0.2), *layouts)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@needs_kernel
def test_threads_do_not_change_a_bit(kernel):
    q, k, v = tokens(1, 1, 3136, 456, 32)
    grad = torch.randn(q.shape)
    function = lambda q, k, v: cpu_attention(q, k, v, 0.2)  # noqa: E731
    assert_threads_do_not_change_a_bit(lambda: values_and_gradients(function, q, k, v, grad))


@needs_kernel
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
@pytest.mark.parametrize('which', [0, 1, 2, 3])
def test_nan_and_infinity_reach_output_and_gradients(kernel, value, which):
    inputs = [*(x.clone() for x in tokens(1, 1, 30, 40, 32)), torch.randn(1, 1, 30, 32)]
    inputs[which][0, 0, 3, 5] = value
    found = values_and_gradients(lambda q, k, v: cpu_attention(q, k, v, 0.2), *inputs)
    plain = lambda q, k, v: (0.2 * q @ k.mT).softmax(-1) @ v  # noqa: E731
    expected = values_and_gradients(plain, *inputs)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x.isfinite(), y.isfinite())
    assert not all(x.isfinite().all() for x in found)


@needs_kernel
def test_queries_that_fill_up_a_block_bring_no_nan(kernel):
    q, k, v = tokens(1, 1, 30, 40, 32)
    q, k = q.abs(), k.clone()
    k[0, 0, 3, 5] = -torch.inf  # a key without weight
    function = lambda q, k, v: cpu_attention(q, k, v, 0.2)  # noqa: E731
    y, _, of_k, of_v = values_and_gradients(function, q, k, v, torch.randn(q.shape))
    assert all(x.isfinite().all() for x in (y, of_k, of_v))


@needs_kernel
def test_lack_of_memory_is_an_error(kernel):
    keys, head = 1 << 45, 32  # 4 PB of them, more than any address space holds
    k = torch.zeros(1, 1, 1, head).expand(1, 1, keys, head)
    q, library = torch.zeros(1, 1, 0, head), attention_cpu._library(head)
    with pytest.raises(RuntimeError, match="can't allocate memory: its keys have the shape"):
        attention_cpu._forward(library, q, k, k, None, 1.0)
    nothing = [attention_cpu._tokens(None)] * 6
    addresses, sizes = attention_cpu._addresses(*[None] * 5), attention_cpu._sizes(q, k, 1.0, 1)
    assert library.attention_backward(*nothing, *addresses, *sizes) == 1


@needs_kernel
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_operators_keep_the_rules_of_pytorch(dtype):
    q, k, v = (x.requires_grad_() for x in tokens(1, 2, 20, 30, 32, dtype=dtype))
    for bias in (None, torch.randn(1, 2, 20, 30, requires_grad=True)):
        torch.library.opcheck(attention_cpu._attention, (q, k, v, bias, 0.2))
        forward = [x.detach() for x in attention_cpu._attention(q, k, v, bias, 0.2)]
        given = bias if bias is None else bias.detach()
        inputs = torch.randn_like(q), [x.detach() for x in (q, k, v)], given, *forward, 0.2
        for of_bias in (False, bias is not None):
            torch.library.opcheck(attention_cpu._attention_backward, (*inputs, of_bias))


@needs_kernel
def test_it_runs_where_it_may():
    q, k, v = tokens(2, 4, 392, 392, 32)
    assert takes(q, k, v)
    assert not takes(q, k.bfloat16(), v.bfloat16())
    assert not takes(*(x.half() for x in (q, k, v)))
    assert not takes(*(x.to('meta') for x in (q, k, v)))
    assert not takes(*(x[..., :24] for x in (q, k, v)))
    assert not takes(*(x[:, :, :8] for x in (q, k, v)))
    assert not takes(q[:, :, :1], *(x.repeat(1, 1, 100, 1) for x in (k, v)))  # one query
    assert not takes(q, k[:1], v[:1])
    with torch.autocast('cpu', torch.bfloat16):
        assert not takes(q, k, v)  # they become bf16
    with sdpa_kernel(SDPBackend.MATH):
        assert not takes(q, k, v)
    assert takes(q, k, v, torch.zeros(392))
    assert not takes(q, k, v, torch.ones(392, dtype=torch.bool))
    assert takes(q, k, v)


@needs_kernel
@pytest.mark.parametrize('has_amx', [True, False])
def test_bf16_is_left_to_amx(monkeypatch, has_amx):
    monkeypatch.setattr(attention_cpu, 'HAS_AMX', has_amx)
    inputs = [x.bfloat16() for x in tokens(2, 4, 392, 392, 32)]
    assert takes(*inputs) is not has_amx
    with torch.autocast('cpu', torch.bfloat16):
        assert takes(*inputs) is not has_amx
    with torch.autocast('cpu', torch.float16):
        assert not takes(*inputs)


@needs_kernel
def test_bf16_is_rounded_only_at_the_ends(kernel):
    inputs = [x.bfloat16() for x in (*tokens(2, 3, 392, 456, 32), torch.randn(2, 3, 392, 32))]
    function = lambda q, k, v: cpu_attention(q, k, v, 0.2)  # noqa: E731
    with torch.autocast('cpu', torch.bfloat16):
        found = values_and_gradients(function, *inputs)
    exact = values_and_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.2),
        *(x.double() for x in inputs),
    )
    for x, y in zip(found, exact, strict=True):
        assert x.dtype == torch.bfloat16
        assert (x - y).abs().max() < 0.006 * y.abs().max()


@needs_kernel
def test_gradients_of_each_sample_by_torch_func():
    q, k, v = tokens(2, 4, 392, 392, 32)
    loss = lambda q, k, v: attention(q[None], k[None], v[None]).square().sum()  # noqa: E731
    found = torch.func.vmap(torch.func.grad(loss))(q, k, v)
    expected = torch.func.grad(lambda q: attention(q, k, v).square().sum())(q)
    assert torch.allclose(found, expected, atol=1e-6)


@needs_kernel
def test_dropout_and_scale_are_kept():
    q, k, v = tokens(2, 4, 392, 392, 32)
    assert torch.allclose(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    scaled = F.scaled_dot_product_attention(q, k, v, scale=0.5)
    assert torch.allclose(attention(q, k, v, scale=0.5), scaled, atol=1e-5)
    torch.manual_seed(0)
    found = attention(q, k, v, dropout_p=0.5)
    torch.manual_seed(0)
    assert torch.equal(found, F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))


@needs_kernel
def test_compiled_graphs_hold_the_kernel():
    q, k, v = tokens(2, 4, 392, 392, 32)
    grad, targets = torch.randn(q.shape), []

    def backend(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(attention, fullgraph=True, dynamic=False, backend=backend)
    found = values_and_gradients(compiled, q, k, v, grad)
    assert any('cpu_attention' in target for target in targets)
    expected = values_and_gradients(attention, q, k, v, grad)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@needs_kernel
def test_exported_graphs_hold_the_operator_of_pytorch():
    class Attend(torch.nn.Module):
        def forward(self, q, k, v):
            return attention(q, k, v)

    inputs = tokens(2, 4, 392, 392, 32)
    assert 'cpu_attention' not in str(torch.export.export(Attend(), inputs).graph)
    assert 'cpu_attention' not in str(torch.jit.trace(Attend(), inputs).inlined_graph)


@needs_kernel
def test_flops_are_counted_as_those_of_pytorch():
    inputs = [x.requires_grad_() for x in tokens(2, 4, 392, 456, 32)]
    totals = []
    for function in (attention, F.scaled_dot_product_attention):
        with FlopCounterMode(display=False) as counter:
            function(*inputs).sum().backward()
        totals.append(counter.get_total_flops())
    assert totals[0] == 14 * 2 * 4 * 392 * 456 * 32  # two products forward, five backward
    assert totals[1] in (totals[0], 0)  # PyTorch has no formula for its own kernel for CPUs yet


def test_without_a_compiler_pytorch_does_it(monkeypatch):
    monkeypatch.setenv('CXX', 'compiler-that-is-not-there')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert attention_cpu._library.__wrapped__(32) is None
        monkeypatch.setattr(attention_cpu, '_library', lambda head: None)
        q, k, v = tokens(2, 4, 392, 392, 32)
        assert torch.equal(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
