"""Fixtures of every test: restored random state, the mmaction scope, CUDA skips."""

import logging
import random

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from tests.legacy_configs import write_pico


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run the tests marked slow, too')


def pytest_collection_modifyitems(config, items):
    """Skip what this run or this machine cannot do; slow tests have a longer time limit."""
    skips = {}
    if not torch.cuda.is_available():
        skips['cuda'] = pytest.mark.skip(reason='no CUDA device')
    if not config.getoption('--slow'):
        skips['slow'] = pytest.mark.skip(reason='needs --slow')
    for item in items:
        for name, skip in skips.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)
        if item.get_closest_marker('slow') and not item.get_closest_marker('timeout'):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def device(request):
    """Where a check runs: on the CPU, and on a GPU where there is one.

    What the test makes lies there, unless it says otherwise.
    """
    if request.param == 'cpu':
        yield request.param
        return
    with torch.device(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _random_state():
    """Each test starts from the same random state and leaves none behind."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(autouse=True)
def _scope():
    """Types in configs resolve in the registries of mmaction."""
    init_default_scope('mmaction')


@pytest.fixture
def logged():
    """What the current logger was told, which does not pass on to pytest's."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture(scope='session')
def pico(tmp_path_factory):
    """A small 0.x config on Motion Digits, which tests may name as their base."""
    return write_pico(tmp_path_factory.mktemp('legacy'))
