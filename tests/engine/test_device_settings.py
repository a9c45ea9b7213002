import pytest
import torch
from torch import nn

from mmaction.engine.device_settings import device_settings, fused_by_default, settings_text


def now():
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.allow_tf32


def put(precision, benchmark, tf32):
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture(autouse=True)
def _as_before():
    before = now()
    yield
    put(*before)


@pytest.mark.parametrize(
    ('environment', 'exact', 'expected'),
    [
        ({}, False, ('high', True, True)),
        ({}, True, ('high', False, True)),
        (dict(tf32=False, cudnn_benchmark=False), False, ('highest', False, False)),
    ],
)
def test_settings_hold_within_a_run_and_are_taken_back(environment, exact, expected):
    for before in (('highest', False, True), ('high', True, False)):
        put(*before)
        settings = device_settings('cuda', environment, exact=exact)
        settings.__enter__()
        assert now() == expected
        settings.__exit__(KeyError, KeyError(), None)  # also after an error
        assert now() == before


def test_nothing_is_changed_on_a_cpu():
    before = now()
    with device_settings('cpu', {}, exact=False):
        assert now() == before


@pytest.mark.parametrize(
    ('optimizer', 'fused'),
    [
        (dict(type='AdamW', lr=1), True),
        (dict(type='Adam', lr=1), True),
        (dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', lr=1), True),
        (dict(type='SGD', lr=1), False),
        (dict(type='AdamW', lr=1, foreach=True), False),
        (dict(type='AdamW', lr=1, fused=False), False),
    ],
)
def test_adam_is_fused_on_a_gpu(optimizer, fused):
    assert bool(fused_by_default(optimizer, 'cuda').get('fused')) is fused
    assert fused_by_default(optimizer, 'cpu') == optimizer


def test_text_says_what_is_on(monkeypatch):
    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters(), fused=True)
    assert settings_text(optimizer, False, {}, exact=False) == 'fused AdamW, not compiled'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert settings_text(optimizer, True, {}, exact=False) == (
        'fused AdamW, TF32 for fp32 products, cudnn.benchmark, compiled block by block'
    )
    off = dict(tf32=False)
    assert settings_text(optimizer, False, off, exact=True) == 'fused AdamW, not compiled'
