"""Resuming checkpoints that lack what this project saves: those of mmaction2 1.x and 0.x."""

import copy
import logging
import math

import pytest
import torch
from mmengine.hooks import Hook

from mmaction.engine.runner.checkpoint import load_checkpoint_file
from mmaction.errors import CheckpointError
from tests.engine.toy import build_runner, toy_config, without_chance

BATCHES, EPOCHS, WARM_UP, RATE = 7, 4, 1.5, 5e-3


class Record(Hook):
    """Step and learning rate of each iteration."""

    def __init__(self):
        self.steps, self.rates = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.steps.append(runner.iter)
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


def config(work_dir, **changes):
    cfg = without_chance(toy_config(work_dir))
    cfg.param_scheduler = [
        dict(type='WarmupLR', start_factor=0.1, end=WARM_UP, convert_to_iter_based=True),
        dict(type='CosineAnnealingLR', T_max=EPOCHS, eta_min=0, end=EPOCHS),
    ]
    cfg.optim_wrapper.accumulative_counts = 1
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.custom_hooks = []
    cfg.merge_from_dict(changes)
    return cfg


def expected_rate(step):
    factor = (1 + math.cos(math.pi * (step // BATCHES) / EPOCHS)) / 2
    return RATE * factor * min(1, 1 - 0.9 * (1 - step / (WARM_UP * BATCHES)))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """The checkpoint after the first epoch of a whole run, and the last one."""
    folder = tmp_path_factory.mktemp('whole')
    build_runner(config(folder)).train()
    return [load_checkpoint_file(folder / f'epoch_{epoch}.pth') for epoch in (1, EPOCHS)]


def of_mmengine(checkpoint):
    """What mmengine's runner saves."""
    meta = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'experiment_name')}
    kept = ('state_dict', 'message_hub', 'optimizer', 'param_schedulers')
    return {'meta': meta, **{key: checkpoint[key] for key in kept}}


def of_mmcv(checkpoint):
    """What mmcv's runner of 0.x saves: steps as numbers, groups as torch had them then."""
    optimizer = copy.deepcopy(checkpoint['optimizer'])
    for state in optimizer['state'].values():
        state['step'] = int(state['step'])
    kept = ('lr', 'betas', 'eps', 'weight_decay', 'amsgrad', 'initial_lr', 'params')
    optimizer = {
        'state': optimizer['state'],
        'param_groups': [{key: g[key] for key in kept} for g in optimizer['param_groups']],
    }
    meta = dict(epoch=1, iter=BATCHES, mmcv_version='1.3.9', time='Mon')
    return {'meta': meta, 'state_dict': checkpoint['state_dict'], 'optimizer': optimizer}


def resume(folder, checkpoint, logged, **changes):
    """Resume a checkpoint; what was recorded, and the text of the log."""
    torch.save(checkpoint, folder / 'other.pth')
    cfg = config(folder / 'run', resume=True, load_from=str(folder / 'other.pth'), **changes)
    runner, record = build_runner(cfg), Record()
    runner.register_hook(record)
    logger = runner.logger
    logger.addHandler(logged)
    try:
        runner.train()
    finally:
        logger.removeHandler(logged)
    return runner, record


@pytest.fixture
def handler():
    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(record.getMessage())

    return Lines()


@pytest.mark.parametrize('form', [of_mmengine, of_mmcv])
def test_run_of_another_framework_resumes_to_the_same_weights(tmp_path, written, handler, form):
    first, last = written
    runner, record = resume(tmp_path, form(first), handler)
    assert record.steps == list(range(BATCHES, EPOCHS * BATCHES))
    assert record.rates == pytest.approx([expected_rate(i) for i in record.steps], rel=0, abs=1e-9)
    for name, value in runner.bare_model.state_dict().items():
        # mmcv's file has no seed: the clips are drawn in another order.
        if form is of_mmengine:
            torch.testing.assert_close(value, last['state_dict'][name], rtol=0, atol=1e-7)
    told = [line for line in handler.lines if 'no state of the schedulers' in line]
    assert len(told) == (form is of_mmcv)


def without_schedulers(checkpoint):
    checkpoint.pop('param_schedulers')


def one_scheduler(checkpoint):
    checkpoint['param_schedulers'].pop()


def other_schedulers(checkpoint):
    checkpoint['param_schedulers'][0] = dict(last_step=3, begin=0, end=5, total_iters=4)


@pytest.mark.parametrize('change', [without_schedulers, one_scheduler, other_schedulers])
def test_missing_schedulers_are_set_by_the_step(tmp_path, written, handler, change):
    checkpoint = of_mmengine(copy.deepcopy(written[0]))
    change(checkpoint)
    _, record = resume(tmp_path, checkpoint, handler)
    assert record.rates == pytest.approx([expected_rate(i) for i in record.steps], rel=0, abs=1e-9)
    assert sum('set by the step, 7' in line for line in handler.lines) == 1


def test_epochs_of_another_length_resume_after_a_whole_epoch(tmp_path, written, handler):
    checkpoint = of_mmcv(written[0])
    checkpoint['meta'].update(epoch=2, iter=200)
    _, record = resume(tmp_path, checkpoint, handler)
    assert record.steps == list(range(2 * BATCHES, EPOCHS * BATCHES))
    assert record.rates == pytest.approx([expected_rate(i) for i in record.steps], rel=0, abs=1e-9)
    assert any('had 100: step 200 becomes 14' in line for line in handler.lines)


def drop(*path):
    def change(checkpoint):
        node = checkpoint
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return change


def within_an_epoch(checkpoint):
    checkpoint['meta'].update(epoch=2, iter=205)


def fewer_groups(checkpoint):
    checkpoint['optimizer']['param_groups'] *= 2


def reversed_order(checkpoint):
    state = checkpoint['optimizer']['state']
    checkpoint['optimizer']['state'] = dict(zip(state, reversed(state.values()), strict=True))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (drop('optimizer'), r'it lacks optimizer\); to start from its weights set load_from'),
        (drop('meta', 'iter'), 'it lacks iter'),
        (drop('meta', 'epoch'), 'it lacks epoch'),
        (drop('meta'), 'it lacks epoch, iter'),
        (within_an_epoch, 'at step 205 within epoch 3 and does not tell how long its epochs were'),
        (fewer_groups, 'damaged or of another model .*group'),
        (reversed_order, 'of another model .*does not have the shape'),
    ],
)
def test_what_cannot_be_resumed_is_one_sentence(tmp_path, written, handler, change, message):
    checkpoint = of_mmengine(copy.deepcopy(written[0]))
    change(checkpoint)
    with pytest.raises(CheckpointError, match=message) as error:
        resume(tmp_path, checkpoint, handler)
    assert '\n' not in str(error.value)
