"""Runs whose data or checkpoints are on a server: resumed on another machine, and when it died."""

import pytest
import torch

from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.checkpoint import checkpoints_by_age
from mmaction.engine.runner.resume import set_resume
from mmaction.errors import ConfigError, UnreadableVideoError
from mmaction.utils import remote, remote_access
from mmaction.utils.checkpoint_reading import load_checkpoint_file
from mmaction.utils.io import write_bytes
from tests.engine.toy import last_checkpoint, toy_config
from tests.remote_servers import BUCKET, FaultyServer, s3_server
from tests.video_factory import write_video

pytest.importorskip('aiohttp')


@pytest.fixture
def bucket(monkeypatch):
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f's3://{BUCKET}'


def weights(checkpoint):
    return checkpoint['state_dict']


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_checkpoints_on_s3_resume_on_another_machine(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv('MMACTION_CACHE', str(tmp_path / 'cache'))
    short = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 10}
    whole = ActionRunner.from_cfg(toy_config(tmp_path / 'whole', **short))
    whole.train()
    there = {'default_hooks.checkpoint.out_dir': f'{bucket}/runs', **short}
    stop = dict(type='StopAfter', step=3)
    cfg = toy_config(tmp_path / 'a' / 'run', **there)
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), stop, dict(type='StopHook')]
    ActionRunner.from_cfg(cfg).train()
    assert not list((tmp_path / 'a').rglob('*.pth'))
    names = {path.rpartition('/')[2] for path in remote.list_folder(f'{bucket}/runs/run')}
    assert {'iter_3.pth', 'last_checkpoint'} <= names
    # Another machine has no work dir: what is on S3 tells where to go on.
    cfg = toy_config(tmp_path / 'b' / 'run', **there)
    set_resume(cfg, 'auto')
    assert cfg.load_from == f'{bucket}/runs/run/iter_3.pth'
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    last = remote.read_bytes(f'{bucket}/runs/run/last_checkpoint', fresh=True).decode()
    assert same_weights(
        weights(load_checkpoint_file(last)), weights(last_checkpoint(tmp_path / 'whole'))
    )


def test_checkpoints_of_a_bucket_without_pointer_come_by_their_step(bucket):
    names = ['iter_9.pth', 'iter_10.pth', 'best_acc_top1_iter_99.pth']
    for name in names:
        write_bytes(f'{bucket}/by_step/{name}', b'weights')
    found = [path.name for path in checkpoints_by_age(f'{bucket}/by_step')]
    assert found == ['iter_10.pth', 'iter_9.pth']


def test_work_dir_is_local(tmp_path):
    from mmaction.config.from_args import set_work_dir

    cfg = toy_config(tmp_path)
    with pytest.raises(ConfigError, match=r'the work dir s3://b/run has to be a local folder'):
        set_work_dir(cfg, 's3://b/run')


@pytest.mark.slow
def test_server_killed_in_mid_epoch_loses_nothing(tmp_path, monkeypatch):
    """The run ends where the server died; resumed when it is back, it is the unbroken one."""
    monkeypatch.setattr(remote_access, '_FIRST_WAIT', 0.01)
    monkeypatch.setenv('MMACTION_REMOTE_TIMEOUT', '0.5')
    monkeypatch.setenv('MMACTION_REMOTE_RETRIES', '1')
    folder = tmp_path / 'clips'
    folder.mkdir()
    for number in range(14):
        write_video(folder / f'{number}.mp4', num_frames=12 + number, width=48, height=32)
    (folder / 'list.txt').write_text(''.join(f'{n}.mp4 {n % 4}\n' for n in range(14)))
    pipeline = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(8, 8), keep_ratio=False),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]

    def config(work_dir, root):
        cfg = toy_config(work_dir, **{'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 10})
        cfg.train_dataloader.dataset = dict(
            type='VideoDataset',
            ann_file=f'{root}/list.txt',
            data_prefix=dict(video=root),
            pipeline=pipeline,
            max_refetch=0,
        )
        return cfg

    ActionRunner.from_cfg(config(tmp_path / 'whole', str(folder))).train()
    with FaultyServer(folder) as server:
        runner = ActionRunner.from_cfg(config(tmp_path / 'run', server.url))
        step = runner.call_hook

        def stopping(name, **kwargs):
            step(name, **kwargs)
            if name == 'after_train_iter' and runner.iter == 8:
                server.stop()

        runner.call_hook = stopping
        with pytest.raises(UnreadableVideoError, match='max_refetch=0 allows'):
            runner.train()
        port = server.http.server_port
    with FaultyServer(folder, port) as server:
        cfg = config(tmp_path / 'run', server.url)
        set_resume(cfg, 'auto')
        ActionRunner.from_cfg(cfg).train()
    assert same_weights(
        weights(last_checkpoint(tmp_path / 'run')), weights(last_checkpoint(tmp_path / 'whole'))
    )
