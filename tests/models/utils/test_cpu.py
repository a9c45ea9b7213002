"""What the system says of the processor, and PyTorch of graphs."""

from unittest import mock

import pytest
import torch
from torch import nn

from mmaction.models.utils import cpu


@pytest.mark.parametrize(
    ('content', 'processor', 'expected'),
    [
        ('vendor_id\t: AuthenticAMD\nflags\t: avx2', '', 'AuthenticAMD'),
        (None, 'AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD', 'AuthenticAMD'),
        ('vendor_id\t: GenuineIntel\nflags\t: amx_bf16', '', 'amx_bf16'),
    ],
)
def test_vendor_and_flags_are_in_it(monkeypatch, content, processor, expected):
    files = mock.mock_open(read_data=content)
    if content is None:
        files.side_effect = FileNotFoundError
    monkeypatch.setattr('pathlib.Path.open', files)
    monkeypatch.setattr('platform.processor', lambda: processor)
    assert expected in cpu._about()
    assert ('AuthenticAMD' in cpu._about()) is (expected == 'AuthenticAMD')


class PlusOneInExports(nn.Module):
    def forward(self, x):
        return x + 1 if cpu.is_exporting() else 1 * x


@pytest.mark.parametrize('by_flag', sorted({True, cpu._CALLS_ALL_EXPORTED}))
def test_graphs_that_are_compiled_are_not_exported(monkeypatch, by_flag):
    monkeypatch.setattr(cpu, '_CALLS_ALL_EXPORTED', by_flag)
    model, x = PlusOneInExports(), torch.zeros(2)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    assert not compiled(x).any()
    for strict in (True, False):
        assert torch.export.export(model, (x,), strict=strict).module()(x).all()
    assert torch.jit.trace(model, x)(x).all()
    assert not compiled(x).any()
    assert not model(x).any()
