"""The ten published configs: the 0.x file as it is, as migrate_config.py makes it, and ours."""

import copy
from pathlib import Path

import pytest

from mmaction.config.load import load_config
from tests.config.migrating import migrate
from tests.legacy_configs import write_published

ROOT = Path(__file__).parents[2]
LEAVES = ROOT / 'configs' / 'recognition' / 'dualformer'


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """The file of a name in each form."""
    folder, found = tmp_path_factory.mktemp('published'), {}

    def path(name, form):
        if (name, form) not in found:
            if form == 'leaf':
                found[name, form] = LEAVES / f'{name}.py'
            elif form == 'as it is':
                found[name, form] = write_published(name, folder)
            else:
                found[name, form] = folder / f'{name}_migrated.py'
                migrate(path(name, 'as it is'), found[name, form])
        return found[name, form]

    return path


@pytest.fixture(scope='module')
def config(paths):
    """The config of a name in each form, as every tool reads it."""
    read = {}

    def load(name, form):
        if (name, form) not in read:
            read[name, form] = load_config(paths(name, form))
        return copy.deepcopy(read[name, form])

    return load
