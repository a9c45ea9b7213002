"""A 0.x config with changes."""

import pytest

from mmaction.config.load import load_config


@pytest.fixture
def changed(pico, tmp_path):
    """The pico config with more lines at its end."""

    def load(more):
        path = tmp_path / 'changed.py'
        path.write_text(f"_base_ = '{pico.as_posix()}'\n{more}\n")
        return load_config(path)

    return load
