"""Datasets whose lists, videos, frames and shards are on a server."""

import shutil

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmaction.data_preparation.packing import PackRequest, pack_list
from mmaction.datasets import EpochSampler, RawframeDataset, ShardDataset, VideoDataset
from mmaction.datasets.decoders import PyAVReader
from mmaction.datasets.decoders import reader as reader_module
from mmaction.errors import UnreadableVideoError
from mmaction.utils import remote, remote_access
from tests.datasets.test_shard_dataset import PIPELINE
from tests.hub_server import hub
from tests.remote_servers import BUCKET, FaultyServer, gcs_server, s3_server
from tests.video_factory import write_video

pytest.importorskip('aiohttp')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Four videos, a folder of six frames, and their lists."""
    root = tmp_path_factory.mktemp('clips')
    for number in range(4):
        write_video(root / f'{number}.mp4', num_frames=20 + number)
    (root / 'list.txt').write_text(''.join(f'{n}.mp4 {n % 2}\n' for n in range(4)))
    (root / 'classes.txt').write_text('run\njump\n')
    (root / 'frames').mkdir()
    import cv2

    for number in range(1, 7):
        cv2.imwrite(
            str(root / 'frames' / f'img_{number:05}.jpg'),
            PyAVReader(str(root / '0.mp4')).get_batch([number])[0],
        )
    (root / 'frames.txt').write_text('frames 6 1\n')
    return root


@pytest.fixture(scope='module')
def bucket(folder):
    """The same on S3, the videos packed, too."""
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fill(f's3://{BUCKET}', folder)
        yield f's3://{BUCKET}'


def fill(store, folder):
    """Copy a folder to a store, and pack its list there."""
    for path in folder.rglob('*'):
        if path.is_file():
            with remote.uploaded(f'{store}/{path.relative_to(folder)}') as part:
                shutil.copy(path, part)
    assert pack_list(PackRequest(f'{store}/list.txt', f'{store}/packed')) == 0


@pytest.fixture(params=['gs', 'hf'])
def other_store(request, folder, monkeypatch, tmp_path):
    """The same on Google Cloud Storage, and in a dataset of the Hub."""
    if request.param == 'gs':
        pytest.importorskip('gcsfs')
        pytest.importorskip('gcp_storage_emulator')
        with gcs_server() as address:
            monkeypatch.setenv('STORAGE_EMULATOR_HOST', address)
            fill(f'gs://{BUCKET}', folder)
            yield f'gs://{BUCKET}'
    else:
        pytest.importorskip('huggingface_hub')
        (tmp_path / 'hub' / 'datasets' / 'org' / 'clips').mkdir(parents=True)
        with hub(tmp_path / 'hub', monkeypatch, tmp_path / 'cache'):
            fill('hf://datasets/org/clips', folder)
            yield 'hf://datasets/org/clips'


@pytest.fixture
def web(folder, monkeypatch):
    monkeypatch.setattr(remote_access, '_FIRST_WAIT', 0.01)
    monkeypatch.setenv('MMACTION_REMOTE_TIMEOUT', '0.5')
    monkeypatch.setenv('MMACTION_REMOTE_RETRIES', '1')
    with FaultyServer(folder) as server:
        yield server


def batches(dataset, **kwargs):
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=EpochSampler(dataset, seed=1),
        collate_fn=pseudo_collate,
        **kwargs,
    )
    return [torch.stack(batch['inputs']) for batch in loader]


def check_batches(folder, bucket, workers):
    here = batches(VideoDataset(str(folder / 'list.txt'), PIPELINE, dict(video=str(folder))))
    files = VideoDataset(f'{bucket}/list.txt', PIPELINE, dict(video=bucket))
    shards = ShardDataset(f'{bucket}/packed', PIPELINE)
    assert files.metainfo['classes'] == shards.metainfo['classes'] == ['run', 'jump']
    for dataset in (files, shards):
        there = batches(dataset, num_workers=workers)
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_from_s3_are_those_of_the_disk(folder, bucket, workers):
    check_batches(folder, bucket, workers)


def test_batches_from_gcs_and_the_hub_are_those_of_the_disk(folder, other_store):
    # Workers are forked from a process that has read the lists by the same libraries.
    check_batches(folder, other_store, 2)


def test_root_of_the_data_may_be_an_address(bucket):
    dataset = VideoDataset('list.txt', PIPELINE, dict(video=''), data_root=bucket)
    assert dataset[0]['inputs'].shape == (1, 3, 4, 32, 32)


def test_frames_and_named_backend(folder, bucket):
    def first(root, **kwargs):
        pipeline = [PIPELINE[1], dict(type='RawFrameDecode', **kwargs), *PIPELINE[3:]]
        dataset = RawframeDataset(f'{root}/frames.txt', pipeline, dict(img=root), test_mode=True)
        return dataset[0]

    here = first(str(folder))
    for kwargs in ({}, dict(io_backend='fsspec')):
        there = first(bucket, **kwargs)
        assert 'unreadable' not in there['data_samples']
        assert torch.equal(here['inputs'], there['inputs'])


@pytest.mark.parametrize('reader', [PyAVReader])
def test_large_videos_are_read_by_ranges(folder, web, monkeypatch, reader):
    monkeypatch.setattr(reader_module, 'IN_MEMORY', 1000)
    here = reader(str(folder / '1.mp4'))
    there = reader(f'{web.url}/1.mp4')
    assert len(there) == len(here) == 21
    assert (there.get_batch([3, 20, 3]) == here.get_batch([3, 20, 3])).all()
    there.close()
    assert {each for _, name, each in web.asked if name == '1.mp4'} - {None}


def test_missing_video_is_named(web):
    with pytest.raises(UnreadableVideoError, match=r'/none\.mp4. cannot be read: there is no file'):
        PyAVReader(f'{web.url}/none.mp4?token=secret')
    sample = VideoDataset(
        f'{web.url}/list.txt', PIPELINE, dict(video=f'{web.url}/no'), test_mode=True
    )[0]['data_samples']
    assert 'there is no file' in sample.unreadable


def test_stalled_connection_is_an_unreadable_clip(web):
    web.faults['2.mp4'] = ['stall', '...']
    dataset = VideoDataset(f'{web.url}/list.txt', PIPELINE, dict(video=web.url))
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=EpochSampler(dataset, seed=1),
        collate_fn=pseudo_collate,
        num_workers=1,
    )
    (batch,) = loader
    replaced = [name for sample in batch['data_samples'] for name in sample.get('replaced', [])]
    assert replaced == [(f'{web.url}/2.mp4', 'no answer for 0.5 s (2 attempts)')]


def test_server_that_is_gone_ends_the_epoch_where_nothing_may_be_replaced(web):
    dataset = VideoDataset(f'{web.url}/list.txt', PIPELINE, dict(video=web.url), max_refetch=0)
    keys = list(EpochSampler(dataset, seed=1))
    assert 'inputs' in dataset[keys[0]]
    web.stop()
    with pytest.raises(UnreadableVideoError, match=r'max_refetch=0 allows.*2 attempts'):
        dataset[keys[1]]
