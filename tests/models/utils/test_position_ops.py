"""Every method of the position generator against PyTorch's convolution."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from mmaction.models.utils import position_ops
from mmaction.models.utils.position_ops import METHODS, add_position, choose_method

SHAPES = [(2, 3, 4, 5, 6), (1, 2, 1, 3, 70), (1, 1, 1, 1, 4), (1, 3, 5, 4, 66)]
needs_triton = pytest.mark.skipif(find_spec('triton') is None, reason='needs triton')

INTERPRETED = """
import json, sys, torch
import tests.quick_start
from tests.models.utils.test_position_ops import SHAPES, errors
from mmaction.models.utils import position_triton
x, weight = torch.randn(1, 2, 3, 4, 8), torch.randn(8, 1, 3, 3, 3)
for name, inputs in dict(
    add_position=(x, weight, weight[:, 0, 0, 0, 0].clone()),
    add_position_backward=(torch.randn_like(x), x, weight),
).items():  # shapes and strides are those that torch.compile is told
    torch.library.opcheck(getattr(torch.ops.mmaction, name), inputs, test_utils='test_faketensor')
print(json.dumps([errors(shape, 'triton', 'cpu') for shape in SHAPES]))
"""


def reference(x, weight, bias):
    """Channels first, in fp64."""
    first = x.double().permute(0, 4, 1, 2, 3)
    y = first + F.conv3d(first, weight.double(), bias.double(), padding=1, groups=x.shape[-1])
    return y.permute(0, 2, 3, 4, 1)


def errors(shape, method, device, dtype=torch.float32):
    """Largest errors of output and gradients, relative to the largest value of each."""
    generator = torch.Generator().manual_seed(sum(shape))
    drawn = [
        torch.randn(size, generator=generator).to(device, dtype)
        for size in (shape, (shape[-1], 1, 3, 3, 3), (shape[-1],))
    ]
    grad = torch.randn(shape, generator=generator).to(device, dtype)
    found, wanted = [], []
    # The reference on the CPU: in fp64, on a GPU, a grid of one token came out wrong.
    for call, place, results in ((add_position, device, found), (reference, 'cpu', wanted)):
        inputs = [value.to(place, copy=True).requires_grad_() for value in drawn]
        y = call(*inputs, method) if call is add_position else call(*inputs)
        results.extend([y, *torch.autograd.grad(y, inputs, grad.to(place, y.dtype))])
    return [
        float((a.detach().double().cpu() - b.detach()).abs().max() / b.detach().abs().max())
        for a, b in zip(found, wanted, strict=True)
    ]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('method', [name for name in METHODS if name != 'triton'])
def test_forward_and_gradients_match_convolution(method, shape):
    assert max(errors(shape, method, 'cpu')) < 2e-6


@needs_triton
def test_triton_kernels_match_convolution_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, '-c', INTERPRETED],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(max(row) for row in eval(done.stdout)) < 2e-6


@needs_triton
@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_triton_kernels_compile_for_gpus(capability, dtype):
    """Down to machine code, which needs no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mmaction.models.utils import position_triton

    sizes = dict.fromkeys(['T', 'H', 'W', 'C', 'lines', 'share'], 'i32')
    for kernel in (position_triton._forward_kernel, position_triton._weight_kernel):
        signature = {
            name: f'*{"fp32" if name == "sums_ptr" else dtype}' if name.endswith('_ptr') else kind
            for name in kernel.arg_names
            for kind in [sizes.get(name, 'constexpr')]
        }
        constants = {name: value for name, value in (('P', 32), ('K', 64)) if name in signature}
        source = ASTSource(kernel, signature, constants)
        compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32))
        assert compiled.asm['cubin']


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('method', METHODS)
def test_methods_match_convolution_on_a_gpu(method, dtype):
    limit = 1e-5 if dtype is torch.float32 else 2e-2
    for shape in [*SHAPES, (2, 16, 14, 14, 256)]:
        assert max(errors(shape, method, 'cuda', dtype)) < limit


@pytest.mark.parametrize('method', ['products', 'native'])
def test_compiled_method_matches_convolution(method):
    compiled = torch.compile(add_position, backend='aot_eager', fullgraph=True)
    x, weight, bias = torch.randn(1, 3, 4, 5, 8), torch.randn(8, 1, 3, 3, 3), torch.randn(8)
    expected = reference(x, weight, bias).float()
    torch.testing.assert_close(compiled(x, weight, bias, method), expected)


@pytest.mark.parametrize('method', ['conv', 'native', 'products'])
def test_tokens_keep_their_dtype_under_autocast(method):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, weight, bias = torch.randn(1, 2, 3, 4, 8), torch.randn(8, 1, 3, 3, 3), torch.randn(8)
        with torch.autocast('cpu', torch.bfloat16):
            found = add_position(x.to(dtype), weight, bias, method)
        assert found.dtype is dtype
        torch.testing.assert_close(
            found.double(), reference(x.to(dtype), weight, bias), rtol=0.05, atol=0.2
        )


def test_method_is_measured_or_safe(monkeypatch):
    class OnGpu:
        device, dtype = torch.device('cuda:0'), torch.float32

    assert choose_method(torch.zeros(1)) == 'conv'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: ('H100', 'A100')[index or 0])
    assert choose_method(OnGpu()) == 'native'
    monkeypatch.setitem(position_ops.MEASURED, 'H100/float32/eager', 'triton')
    assert choose_method(OnGpu()) == 'triton'
    monkeypatch.setattr(OnGpu, 'device', torch.device('cuda:1'))
    assert choose_method(OnGpu()) == 'native'
    monkeypatch.setattr(OnGpu, 'device', torch.device('cuda:0'))
    monkeypatch.setitem(position_ops.MEASURED, 'H100/float32/compiled', 'products')
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    assert choose_method(OnGpu()) == 'products'
    # Autocast decides in which dtype the convolution would run.
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda kind: kind == 'cuda')
    monkeypatch.setattr(torch, 'get_autocast_dtype', lambda kind: torch.bfloat16)
    assert choose_method(OnGpu()) == 'native'
    monkeypatch.setitem(position_ops.MEASURED, 'H100/bfloat16/compiled', 'conv')
    assert choose_method(OnGpu()) == 'conv'


def test_unknown_method_is_error():
    with pytest.raises(ValueError, match='method is one of conv, native, products, triton'):
        add_position(torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 3, 3, 3), torch.zeros(1), 'x')
