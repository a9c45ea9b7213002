"""Training on several sources: a run that is stopped ends as an unbroken one."""

import itertools
import signal

import pytest
from mmengine.dataset import ConcatDataset

from mmaction.registry import DATASETS
from tests.engine.runner.test_resume import differences
from tests.engine.toy import Run, ToyClips, last_checkpoint, toy_config


@DATASETS.register_module(force=True)
class JoinedToys(ConcatDataset):
    """Toy clips as several sources.

    Args:
        sizes: Clips of each.
        log: As in `ToyClips`.
    """

    def __init__(self, sizes, log=None):
        self.datasets = [ToyClips(size, log) for size in sizes]
        self.cumulative_sizes = list(itertools.accumulate(sizes))
        self._metainfo = dict(ToyClips.metainfo)
        self._fully_initialized = True


def config(work_dir, **changes):
    """Four epochs of 4 groups of 2, 1 and 1, in batches of 4: 4 steps an epoch."""
    cfg = toy_config(work_dir, **changes)
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset = dict(
        type='JoinedToys', sizes=[7, 20, 3], log=str(work_dir.with_suffix('.txt'))
    )
    cfg.train_dataloader.sampler = dict(type='JointSampler', ratio=[2, 1, 1])
    cfg.custom_imports = dict(imports=['tests.engine.runner.test_joint_training'])
    return cfg


@pytest.mark.dist
def test_stopped_joint_training_resumes_bit_equal(tmp_path):
    Run(config(tmp_path / 'whole')).check()
    stopped = config(tmp_path / 'stopped')
    stopped.custom_hooks.append(dict(type='StopAfter', step=6))
    assert Run(stopped).wait() == [128 + signal.SIGTERM]
    resumed = config(tmp_path / 'stopped')
    resumed.resume = True
    Run(resumed).check()
    assert differences(*(last_checkpoint(tmp_path / name) for name in ('whole', 'stopped'))) == []
    # No clip was read twice, but the first by the trial before each run.
    read = [(tmp_path / f'{name}.txt').read_text().split() for name in ('whole', 'stopped')]
    trials = read[0].pop(0), read[1].pop(0), read[1].pop(6 * 4)
    assert trials == ('0', '0', '0')
    assert read[0] == read[1]
    assert len(read[0]) == 4 * 4 * 4
