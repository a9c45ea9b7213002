"""oneDNN's linear layer against PyTorch's, and what keeps PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from mmaction.models.utils import linear_ops
from mmaction.models.utils.linear_ops import Linear, uses_onednn

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='needs a PyTorch with oneDNN'
)


@pytest.fixture
def every_product(monkeypatch):
    """oneDNN computes products of any size, on any processor."""
    monkeypatch.setattr(linear_ops, 'LARGE', 1)
    monkeypatch.setattr(linear_ops, '_measured_processor', lambda: True)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_onednn
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(40, 24), (2, 3, 5, 7, 24), (1, 24)])
def test_output_matches_pytorch(every_product, shape, bias):
    x, layer = drawn(*shape), Linear(24, 16, bias=bias)
    with torch.no_grad():
        assert uses_onednn(x, layer.weight)
        wanted = F.linear(x.double(), *(p.double() for p in layer.parameters()))
        torch.testing.assert_close(layer(x), wanted.float(), rtol=1e-5, atol=1e-5)


@needs_onednn
def test_tokens_that_are_a_view(every_product):
    x, layer = drawn(3, 24, 8).transpose(1, 2), Linear(24, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_pytorch_keeps_gradients_other_dtypes_autocast_and_wide_layers(every_product):
    x, layer = drawn(8, 24), Linear(24, 16)
    assert not uses_onednn(x, layer.weight)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(16, -1))
    with torch.no_grad():
        assert uses_onednn(x, layer.weight)
        assert not uses_onednn(x.double(), layer.weight.double())
        assert not uses_onednn(drawn(8, 256), drawn(256, 256))
        with torch.autocast('cpu', torch.bfloat16):
            assert layer(x).dtype is torch.bfloat16


def test_traced_and_exported_layers_keep_pytorchs_operator(every_product):
    x, layer = drawn(8, 24), Linear(24, 16)
    with torch.no_grad():
        traced = str(torch.jit.trace(layer, x).inlined_graph)
        exported = str(torch.export.export(layer, (x,)).graph)
    for graph in (traced, exported):
        assert 'linear' in graph
        assert 'mkldnn' not in graph
