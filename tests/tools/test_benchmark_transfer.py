"""Each way of bringing a clip over brings it over, and is timed."""

import re

import torch

from tools.analysis_tools import benchmark_transfer


def test_the_clip_arrives():
    clip = torch.arange(200, dtype=torch.uint8)
    for bring in benchmark_transfer.ways(clip, arrived := torch.zeros_like(clip)).values():
        arrived.zero_()
        bring()
        assert torch.equal(arrived, clip)


def test_times_are_printed(capsys):
    benchmark_transfer.main(['--shape', '3', '64', '64', '--rounds', '1'])
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith('a clip of 0.01 MB')
    rows.remove('small tensors')
    found = [re.fullmatch(r'(\w[\w ]*?) +(\d+\.\d\d) ms', row).groups() for row in rows]
    large = ['new memory', 'used again', 'kept mapped', 'written in place']
    assert [name for name, _ in found] == [*large, 'by torch', 'as bytes']
