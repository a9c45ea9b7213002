"""Figures and settings of this process's memory."""

import subprocess
import sys

import pytest

from mmaction.utils.memory import peak_memory

ASK = """
from mmaction.utils.memory import keep_freed_memory, peak_memory
print(keep_freed_memory(), peak_memory())
import torch
before = peak_memory()
block = torch.ones(50_000_000)
print(peak_memory() - before)
"""


def test_peak_memory_grows_by_allocation():
    reply = subprocess.run([sys.executable, '-c', ASK], capture_output=True, text=True, check=True)
    kept, grown = reply.stdout.splitlines()
    assert kept.split()[0] in ('True', 'False')
    assert int(grown) == pytest.approx(200e6, rel=0.05)


def test_peak_memory_is_per_process():
    block = bytearray(400_000_000)
    command = [sys.executable, '-c', 'from mmaction.utils.memory import *; print(peak_memory())']
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(child.stdout) < 0.8 * peak_memory()
    del block
