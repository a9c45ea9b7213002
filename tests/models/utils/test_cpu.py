"""What the system says of the processor."""

from unittest import mock

import pytest

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
