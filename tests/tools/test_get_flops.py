"""The figures of the model table, recomputed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'recognition' / 'dualformer'
PUBLISHED = {
    'tiny_patch244_window877_kinetics400_1k': (21.767, 60.09),
    'small_patch244_window877_kinetics400_1k': (48.908, 158.69),
    'base_patch244_window877_kinetics400_1k': (86.838, 267.96),
}


def get_flops(*arguments):
    command = [sys.executable, ROOT / 'tools' / 'analysis_tools' / 'get_flops.py', *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    params, flops = re.search(r'([\d.]+) M\nFLOPs +([\d.]+) G', done.stdout).groups()
    return float(params), float(flops)


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameters_and_flops_are_the_published_ones(name):
    params, flops = get_flops(CONFIGS / f'dualformer_{name}.py')
    assert params == pytest.approx(PUBLISHED[name][0], abs=5e-4)
    assert flops == pytest.approx(PUBLISHED[name][1], rel=0.01)
    table = (ROOT / 'README.md').read_text()
    (row,) = [line for line in table.splitlines() if f'`dualformer_{name}`' in line]
    assert f'| {params:.1f} M | {flops:.1f} x 4 |' in row


def test_other_shapes_cost_in_proportion():
    config = CONFIGS / 'dualformer_tiny_patch244_window877_kinetics400_1k.py'
    _, whole = get_flops(config)
    _, half = get_flops(config, '--shape', '16', '224', '224')
    assert 0.4 < half / whole < 0.5  # full attention in the last stage grows faster than tokens
