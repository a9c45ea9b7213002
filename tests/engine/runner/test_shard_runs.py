"""Training on shards: what is learned is, bit for bit, what files teach."""

import copy
import signal
from typing import Any

import pytest

from mmaction.data_preparation.packing import PackRequest, pack_list
from tests.datasets import test_shard_dataset
from tests.engine.runner.test_resume import differences
from tests.engine.toy import Run, last_checkpoint, toy_config
from tests.video_factory import write_video

PIPELINE: list[Any] = copy.deepcopy(test_shard_dataset.PIPELINE)
PIPELINE[4]['scale'] = (8, 8)  # of Resize
RANKS = 3


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Fourteen videos of four unequal classes; `list.txt`, packed in `packed`."""
    root = tmp_path_factory.mktemp('clips')
    for number in range(14):
        write_video(root / f'{number}.mp4', num_frames=12 + number, width=48, height=32)
    labels = [0] * 7 + [1] * 4 + [2] * 2 + [3]
    lines = (f'{number}.mp4 {label}\n' for number, label in enumerate(labels))
    (root / 'list.txt').write_text(''.join(lines))
    request = PackRequest(str(root / 'list.txt'), str(root / 'packed'), size=25_000)
    assert pack_list(request) == 0
    assert len(list((root / 'packed').glob('*.tar'))) == 4
    return root


def config(work_dir, oversample, **dataset):
    """Two epochs, with a checkpoint after each second step."""
    changes = {
        'train_cfg.max_epochs': 2,
        'train_cfg.val_interval': 10,
        'default_hooks.checkpoint.interval': 2,
    }
    cfg = toy_config(work_dir, **changes)
    dataset.update(pipeline=PIPELINE, num_classes=4)
    if oversample:
        dataset = dict(type='ClassBalancedDataset', oversample_thr=oversample, dataset=dataset)
    cfg.train_dataloader.dataset = dataset
    return cfg


@pytest.mark.dist
@pytest.mark.parametrize(
    ('oversample', 'killed_at', 'resumed_from'),
    [
        pytest.param(None, 5, 4, id='plain'),
        pytest.param(0.3, 7, 6, id='balanced', marks=pytest.mark.slow),
    ],
)
def test_run_on_shards_killed_in_mid_epoch_ends_as_one_on_files(
    clips, tmp_path, oversample, killed_at, resumed_from
):
    listed = dict(
        type='VideoDataset', ann_file=f'{clips}/list.txt', data_prefix=dict(video=f'{clips}')
    )
    Run(config(tmp_path / 'files', oversample, **listed), RANKS).check()
    whole = last_checkpoint(tmp_path / 'files')
    per_epoch = whole['meta']['iter'] // 2
    assert resumed_from % per_epoch

    cfg = config(tmp_path / 'run', oversample, type='ShardDataset', ann_file=f'{clips}/packed')
    cfg.train_dataloader.num_workers = 1
    hooks = cfg.custom_hooks
    cfg.custom_hooks = [*hooks, dict(type='StopAfter', step=killed_at, name='SIGKILL')]
    assert Run(cfg, RANKS).wait() == [-signal.SIGKILL] * RANKS
    assert last_checkpoint(tmp_path / 'run')['meta']['iter'] == resumed_from
    cfg.update(custom_hooks=hooks, resume=True)
    Run(cfg, RANKS).check()
    assert differences(whole, last_checkpoint(tmp_path / 'run')) == []
