"""Training on several dataloaders by `MultiLoaderEpochBasedTrainLoop`."""

import pytest

from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.multi_loop import join_dataloaders
from mmaction.errors import ConfigError
from tests.engine.toy import toy_config


def loader(size, batch_size, log):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(type='ToyClips', size=size, log=str(log)),
    )


def test_each_step_takes_a_batch_of_every_dataloader(tmp_path):
    cfg = toy_config(tmp_path / 'run')
    logs = [tmp_path / 'first.txt', tmp_path / 'second.txt']
    cfg.train_dataloader = loader(8, 2, logs[0])
    cfg.train_cfg = dict(
        type='MultiLoaderEpochBasedTrainLoop',
        other_loaders=[loader(5, 3, logs[1])],
        max_epochs=2,
        val_begin=3,
    )
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 8)  # an epoch is 8 / 2 steps
    read = [[int(line) for line in log.read_text().split()] for log in logs]
    # The trial before training reads the first clip once more.
    assert sorted(read[0]) == sorted([0] + [*range(8)] * 2)
    assert len(read[1]) == 8 * 3
    assert {read[1].count(index) for index in range(5)} <= {4, 5}  # none is left out


def test_joined_dataloader_keeps_what_the_first_says():
    first = dict(batch_size=2, num_workers=4, pin_memory=True, dataset=dict(type='A'), sampler=1)
    joined = join_dataloaders(first, [dict(batch_size=3, dataset=dict(type='B'))])
    assert joined == dict(
        batch_size=5,
        num_workers=4,
        pin_memory=True,
        dataset=dict(type='ConcatDataset', datasets=[dict(type='A'), dict(type='B')]),
        sampler=dict(type='JointSampler', ratio=[2, 3]),
    )
    with pytest.raises(ConfigError, match=r'train_cfg.other_loaders\[0\] must be a dict with'):
        join_dataloaders(first, [dict(dataset=dict(type='B'))])
