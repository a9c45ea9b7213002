"""Tests run as if no launcher had started them."""

import os

import pytest

LAUNCH = [name for name in os.environ if name.startswith(('SLURM_', 'OMPI_', 'TORCHELASTIC_'))]


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    """No launcher: none of the variables that one sets."""
    for name in (*LAUNCH, 'RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
