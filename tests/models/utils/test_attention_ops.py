"""Which backends of attention may run, and that they agree."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from mmaction.models.utils import attention_ops
from mmaction.models.utils.attention_ops import attention, choose_backends


class OnGpu:
    """Queries or keys of a given length, without a GPU."""

    def __init__(self, length, dtype=torch.bfloat16, index=0):
        self.shape = (1, 2, length, 32)
        self.dtype = dtype
        self.device = torch.device('cuda', index)


@pytest.fixture
def gpu(monkeypatch):
    """A machine that has an H100, an A100 and a given cuDNN."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: ('H100', 'A100')[index or 0])
    return lambda version: monkeypatch.setattr(torch.backends.cudnn, 'version', lambda: version)


def test_cpu_leaves_the_choice_to_pytorch(gpu):
    gpu(91500)
    q = torch.randn(1, 2, 5, 8)
    assert choose_backends(q, q) is None


@pytest.mark.parametrize(
    ('version', 'queries', 'keys', 'sound'),
    [
        (None, 392, 392, False),
        (91500, 392, 392, False),
        (91500, 384, 392, False),
        (91500, 392, 384, False),
        (91500, 384, 128, True),
        (91501, 392, 392, True),
        (92000, 392, 456, True),
    ],
)
def test_faulty_cudnn_is_not_used(gpu, version, queries, keys, sound):
    gpu(version)
    chosen = choose_backends(OnGpu(queries), OnGpu(keys))
    if sound:
        assert chosen is None
    else:
        assert SDPBackend.CUDNN_ATTENTION not in chosen
        assert chosen[0] is SDPBackend.FLASH_ATTENTION
        assert chosen[-1] is SDPBackend.MATH


def test_measured_backend_comes_first(gpu, monkeypatch):
    gpu(91600)
    monkeypatch.setitem(attention_ops.MEASURED, 'H100/bfloat16/456', 'EFFICIENT_ATTENTION')
    chosen = choose_backends(OnGpu(3136), OnGpu(456))
    assert chosen[0] is SDPBackend.EFFICIENT_ATTENTION
    assert len(chosen) == 4
    for index, dtype, keys in (
        (0, torch.bfloat16, 392),
        (0, torch.float16, 456),
        (1, torch.bfloat16, 456),
    ):
        assert choose_backends(OnGpu(3136, dtype, index), OnGpu(keys, dtype, index)) is None


def test_faulty_cudnn_is_not_used_where_it_was_fastest(gpu, monkeypatch):
    monkeypatch.setitem(attention_ops.MEASURED, 'H100/bfloat16/392', 'CUDNN_ATTENTION')
    for version, first in ((91501, 'CUDNN_ATTENTION'), (91500, 'FLASH_ATTENTION')):
        gpu(version)
        chosen = choose_backends(OnGpu(392), OnGpu(392))
        assert chosen[0].name == first
        assert (SDPBackend.CUDNN_ATTENTION in chosen) == (version == 91501)


def test_attention_runs_with_the_chosen_backends_in_their_order(monkeypatch):
    chosen = [SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION]
    allowed = []

    def product(q, k, v, **_):
        allowed.append(torch.nn.attention._cur_sdpa_kernel_backends(with_priority=True))
        return q

    monkeypatch.setattr(attention_ops.F, 'scaled_dot_product_attention', product)
    monkeypatch.setattr(attention_ops, 'choose_backends', lambda q, k: chosen)
    attention(*[torch.randn(1, 1, 2, 4)] * 3)
    assert allowed == [chosen]


@pytest.mark.parametrize('backends', [None, [SDPBackend.MATH]])
def test_dropout_and_scale_reach_the_product(monkeypatch, backends):
    monkeypatch.setattr(attention_ops, 'choose_backends', lambda q, k: backends)
    q, k, v = torch.randn(3, 1, 2, 5, 8)
    found = []
    for call in (attention, torch.nn.functional.scaled_dot_product_attention):
        torch.manual_seed(1)
        found.append(call(q, k, v, dropout_p=0.5, scale=0.1))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize('keys', [392, 456, 784])
def test_attention_matches_softmax(device, keys, monkeypatch):
    """At the published numbers of keys, also where the backends are given."""
    q, k, v = (torch.randn(1, 2, n, 32, device=device) for n in (40, keys, keys))
    exact = (q.double() @ k.double().transpose(2, 3) * 32**-0.5).softmax(-1) @ v.double()
    tolerance = dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention(q, k, v).double(), exact, **tolerance)
    every = list(attention_ops._BACKENDS)
    monkeypatch.setattr(attention_ops, 'choose_backends', lambda q, k: every)
    torch.testing.assert_close(attention(q, k, v).double(), exact, **tolerance)
    scaled = attention(q, k, v, scale=32**-0.5 / 2)
    torch.testing.assert_close(scaled, attention(q / 2, k, v), **tolerance)


def test_more_axes_are_refused():
    with pytest.raises(AssertionError):
        attention(*[torch.randn(1, 1, 2, 4, 8)] * 3)
