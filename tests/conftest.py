"""Fixtures of every test: restored random state, the mmaction scope, CUDA skips."""

from tests import quick_start  # noqa: F401  (first: torch is imported in less time after it)

# isort: split

import gc
import logging
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from tests.legacy_configs import write_pico


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run the tests marked slow, too')


# Files that take longest come first: what several processes get last is short, and none is left
# alone with a long one.
LONGEST = (
    'engine/test_compile.py',
    'apis/test_export.py',
    'models/backbones/test_dualformer.py',
    'datasets/test_base.py',
    'tools/test_train_and_test.py',
    'models/zoo/test_variants.py',
    'engine/runner/test_plain_runner.py',
    'config/test_published_configs.py',
    'tools/test_zoo_configs.py',
    'models/test_fake_device.py',
    'tools/test_unreadable_clips.py',
    'engine/runner/test_runner.py',
    'utils/test_remote.py',
    'tools/test_benchmarks.py',
    'engine/runner/test_resume.py',
    'test_packaging.py',
    'apis/web/test_server.py',
    'test_configs.py',
    'utils/test_isolated_call.py',
    'datasets/test_remote_clips.py',
    'models/utils/test_position_ops.py',
    'apis/test_features.py',
    'models/backbones/test_external.py',
    'visualization/test_saliency_on_digits.py',
    'tools/test_remote_files.py',
    'demo/test_web_demo.py',
    'engine/runner/test_work_dir.py',
    'data_preparation/test_motion_digits.py',
    'test_cuda.py',
    'engine/runner/test_setting_changes.py',
    'tools/test_prepare_videos.py',
    'config/test_published_configs_run.py',
    'config/legacy/test_convert.py',
    'utils/test_cli.py',
    'distributed/test_torchrun.py',
    'engine/runner/test_dataloader_workers.py',
    'engine/hooks/test_graceful_stop.py',
    'models/backbones/test_dualformer_weights.py',
    'models/zoo/test_zoo.py',
    'engine/runner/test_option_mutations.py',
    'engine/runner/test_token_label.py',
    'cli/test_finetune.py',
    'apis/test_bulk_prediction.py',
    'tools/test_benchmark_gpu.py',
    'utils/test_checkpoint_reading.py',
    'demo/test_demos.py',
)


def _place(path):
    """Where a test file comes: the longest first, the others in their order."""
    name = path.relative_to(Path(__file__).parent).as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_collection_modifyitems(config, items):
    """Order files; skip what this run or this machine cannot do; give slow tests more time."""
    items.sort(key=lambda item: _place(item.path))
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


_modules = 0


def _freeze():
    """Leave what is imported out of garbage collection.

    mmengine collects all garbage each time it builds a dataset, which takes 0.3 s among a million
    objects.
    """
    global _modules
    _modules = len(sys.modules)
    gc.freeze()


def pytest_collection_finish():
    """Collection has imported most modules."""
    _freeze()


@pytest.fixture(autouse=True, scope='module')
def _imports_of_earlier_files():
    """Compilers and exporters are imported by the first test that uses them, and are large."""
    if len(sys.modules) > _modules + 100:
        gc.collect()
        _freeze()


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
def _exact_convolutions(request):
    """What runs on a GPU is compared in fp32; PyTorch's convolutions take TF32 by themselves."""
    if request.node.get_closest_marker('cuda') is None:
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


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
def _console():
    """No logger writes to what pytest captured of an earlier test, which is closed.

    Python would print a stack for each line, which takes longer than what is tested.
    """
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers[:]:
            if getattr(getattr(handler, 'stream', None), 'closed', False):
                logger.removeHandler(handler)


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
