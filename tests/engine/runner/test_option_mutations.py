"""Options that nobody can mean end in one sentence before training, never in a traceback."""

from concurrent.futures import ProcessPoolExecutor

import pytest
from mmengine.config import Config

from tests import option_mutations
from tests.option_mutations import CONFIG, make_clips, mutations, warm_up
from tests.processes import context


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp('mutations') / 'data')


@pytest.fixture(scope='module')
def attempt():
    """`option_mutations.attempt` by a fresh process, which forks for each option.

    This one may have threads of autograd from other tests, which no fork survives.
    """
    with ProcessPoolExecutor(1, mp_context=context, initializer=warm_up) as pool:
        yield lambda *arguments: pool.submit(option_mutations.attempt, *arguments).result()


SAMPLE = {
    'train_dataloader.num_workers=1e20': 'train_dataloader.num_workers: expected an integer',
    'train_dataloader.num_workers=100000000': 'are more than',
    'train_dataloader.batch_size=None': 'train_dataloader.batch_size',
    'optim_wrapper.optimizer.lr=-1': 'optim_wrapper.optimizer.lr: expected',
    'optim_wrapper.optimizer.lr=nan': 'optim_wrapper.optimizer.lr: nan is no value',
    'optim_wrapper.optimizer.lr=None': 'optim_wrapper.optimizer.lr: expected a number',
    'optim_wrapper.clip_grad=3': 'optim_wrapper.clip_grad: expected a dict',
    'optim_wrapper.clip_grad.max_norm=x': 'optim_wrapper.clip_grad.max_norm: expected a number',
    'optim_wrapper.optimizer=3': 'optim_wrapper.optimizer: expected a dict',
    'model=3': 'config key model: expected a dict, found 3',
    'param_scheduler.0.end=[1]': 'param_scheduler.0.end: expected',
    'param_scheduler.0.start_factor=0': 'at step 1, LinearLR fails: ',
    'default_hooks.checkpoint.interval=x': 'default_hooks.checkpoint.interval: expected an int',
    'custom_hooks.3=3': '--cfg-options custom_hooks.3: expected a dict',
    'train_dataloader.dataset.pipeline.4.size=1000': 'RandomCrop of 1000x1000 pixels',
    'train_dataloader.dataset.pipeline.1.clip_len=1': 'cannot take the first train clip',
    'val_dataloader.dataset.pipeline.2=x': 'pipeline.2: expected a dict',
    'train_cfg.val_interval=0': 'train_cfg.val_interval: expected',
    'model.backbone.init_cfg.distribution=None': 'error: ',
}


@pytest.mark.parametrize('option', SAMPLE)
def test_wrong_option_is_one_sentence_before_training(attempt, data, tmp_path, option):
    outcome = attempt(option, data, tmp_path)
    assert outcome.kind == 'refused', outcome.text
    assert SAMPLE[option] in outcome.text
    assert len(outcome.text.splitlines()) == 1
    assert len(outcome.text) < 600


def test_unchanged_config_trains(attempt, data, tmp_path):
    outcome = attempt('train_dataloader.batch_size=3', data, tmp_path)
    assert outcome.kind == 'accepted', outcome.text


@pytest.mark.slow
def test_no_option_ends_in_a_traceback(attempt, data, tmp_path):
    wrong = {}
    for option in list(mutations(Config.fromfile(CONFIG)))[::3]:
        outcome = attempt(option, data, tmp_path)
        if outcome.kind not in ('accepted', 'refused'):
            wrong[option] = (outcome.kind, outcome.text[-400:])
    assert wrong == {}
