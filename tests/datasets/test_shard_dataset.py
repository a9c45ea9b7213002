"""Packed clips: the batches of the files themselves, WebDataset's shards, blocks, faults."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmaction.data_preparation.packing import PackRequest, pack_list
from mmaction.datasets import (
    BlockSampler,
    ClassBalancedDataset,
    EpochSampler,
    ShardDataset,
    VideoDataset,
)
from mmaction.datasets.samplers import order_randomness
from mmaction.datasets.shard_index import ShardEntry, ShardIndex, expand_shards, write_index
from mmaction.engine.runner.data_check import check_splits
from mmaction.errors import ConfigError
from tests.video_factory import write_video

PIPELINE = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Ten videos, one of which is missing and one damaged; `list.txt`, packed in `packed`."""
    root = tmp_path_factory.mktemp('clips')
    source = write_video(root / 'source.mp4', num_frames=24).read_bytes()
    lines = []
    for number in range(10):
        name = f'clip {number}.a.mp4'
        if number == 4:
            (root / name).write_bytes(source[:300])
        elif number != 7:
            write_video(root / name, num_frames=20 + number)
        lines.append(f'{name} {number % 3}')
    (root / 'list.txt').write_text('\n'.join(lines) + '\n')
    (root / 'classes.txt').write_text('run\njump\nsit still\n')
    size = (root / 'clip 0.a.mp4').stat().st_size
    assert pack_list(PackRequest(str(root / 'list.txt'), str(root / 'packed'), size=4 * size)) == 1
    return root


def loader(dataset, **kwargs):
    sampler = EpochSampler(dataset, seed=3)
    return DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=pseudo_collate, **kwargs)


def same(one, other):
    assert torch.equal(torch.stack(one['inputs']), torch.stack(other['inputs']))
    for mine, theirs in zip(one['data_samples'], other['data_samples'], strict=True):
        assert torch.equal(mine.gt_label, theirs.gt_label)
        # Of what was replaced, both tell; only the reasons differ.
        assert len(mine.get('replaced', [])) == len(theirs.get('replaced', []))


def test_batches_are_those_of_the_files(clips):
    files = VideoDataset(str(clips / 'list.txt'), PIPELINE, dict(video=str(clips)))
    shards = ShardDataset(str(clips / 'packed'), PIPELINE)
    assert len(shards.index.shards) > 2
    assert shards.metainfo['classes'] == ['run', 'jump', 'sit still']
    assert [shards.get_cat_ids(i) for i in range(10)] == [files.get_cat_ids(i) for i in range(10)]
    replaced = 0
    for one, other in zip(loader(files), loader(shards, num_workers=2), strict=True):
        same(one, other)
        replaced += sum('replaced' in sample for sample in other['data_samples'])
    assert replaced == 2


def test_ranks_that_resume_in_mid_epoch_get_the_same(clips, monkeypatch):
    files = VideoDataset(str(clips / 'list.txt'), PIPELINE, dict(video=str(clips)))
    shards = ShardDataset(str(clips / 'packed'), PIPELINE)
    for rank in range(3):
        monkeypatch.setattr('mmaction.datasets.samplers.get_dist_info', lambda rank=rank: (rank, 3))
        samplers = [EpochSampler(dataset, seed=3) for dataset in (files, shards)]
        samplers[1].set_epoch(1)
        samplers[0].set_epoch(1)
        whole = [(int(key), key.entropy) for key in samplers[0]]
        samplers[1].skip(6)
        assert [(int(key), key.entropy) for key in samplers[1]] == whole[2:]


def test_unreadable_clip_is_named(clips):
    dataset = ShardDataset(str(clips / 'packed'), PIPELINE, test_mode=True)
    for number, reason in ((7, 'could not be read when its list was packed'), (4, '')):
        sample = dataset[number]['data_samples']
        assert sample.filename == f'clip {number}.a.mp4'
        assert reason in sample.unreadable
    assert (clips / 'packed' / 'failures.txt').read_text().startswith(f'{clips}/clip 7.a.mp4\t')


def test_rerun_writes_what_is_missing(clips, capsys):
    packed = clips / 'packed'
    files = sorted(packed.glob('*.tar'))
    before = [file.read_bytes() for file in files]
    index = (packed / 'index.npz').read_bytes()
    files[1].unlink()
    files[2].write_bytes(before[2][:-512])
    (packed / 'index.npz').unlink()
    size = json.loads((packed / 'pack.json').read_text())['size']
    pack_list(PackRequest(str(clips / 'list.txt'), str(packed), size=size))
    assert '2 of them written now' in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == before
    assert (packed / 'index.npz').read_bytes() == index
    with pytest.raises(ValueError, match='was made with'):
        pack_list(PackRequest(str(clips / 'list.txt'), str(packed), size=size + 1))


def test_webdataset_reads_them(clips):
    webdataset = pytest.importorskip('webdataset')
    urls = [str(path) for path in sorted((clips / 'packed').glob('*.tar'))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample['__key__'] for sample in samples] == [f'{i:09}' for i in range(10) if i != 7]
    assert [sample['cls'] for sample in samples] == [i % 3 for i in range(10) if i != 7]
    assert samples[5]['json'] == dict(path='clip 5.a.mp4', label=2)
    assert samples[5]['mp4'] == (clips / 'clip 5.a.mp4').read_bytes()


@pytest.fixture
def foreign(clips, tmp_path):
    """Two shards as WebDataset's own writer makes them."""
    webdataset = pytest.importorskip('webdataset')
    for number in range(2):
        with webdataset.TarWriter(str(tmp_path / f'wd-{number:06}.tar')) as writer:
            for clip in range(5 * number, 5 * number + 4):
                content = (clips / f'clip {clip}.a.mp4').read_bytes() if clip != 7 else b''
                sample = {'__key__': f'part/{clip:04}', 'mp4': content}
                sample |= {'cls': clip} if number else {'json': dict(label=clip), 'txt': 'words'}
                writer.write(sample)
    return tmp_path


def test_webdatasets_own_shards_are_read(foreign, clips):
    dataset = ShardDataset(str(foreign), PIPELINE, test_mode=True)
    assert [dataset.get_data_info(i)['label'] for i in range(8)] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert dataset.get_data_info(4)['filename'] == 'part/0005.mp4'
    files = VideoDataset(str(clips / 'list.txt'), PIPELINE, dict(video=str(clips)), test_mode=True)
    for position in (0, 3):
        assert torch.equal(dataset[position]['inputs'], files[position]['inputs'])
    entry = dataset.index[5]
    content = Path(dataset.index.shards[entry.shard]).read_bytes()
    clip = (clips / 'clip 6.a.mp4').read_bytes()
    assert content[entry.offset : entry.offset + entry.size] == clip
    # Built once: a second reader takes the index, even where the shards have gone.
    for path in foreign.glob('*.tar'):
        path.unlink()
    assert len(ShardDataset(str(foreign), PIPELINE)) == 8


def test_shards_written_anew_are_told_from_those_of_the_index(foreign):
    dataset = ShardDataset(str(foreign), PIPELINE)
    assert check_splits(dict(train=dataset), 9)['train'].clips == 8
    first = foreign / 'wd-000000.tar'
    first.write_bytes(first.read_bytes() + b'\0' * 10240)
    with pytest.raises(ConfigError, match=r'wd-000000\.tar has \d+ bytes.*remove the index'):
        check_splits(dict(train=ShardDataset(str(foreign), PIPELINE)), 9)
    (foreign / 'index.npz').unlink()
    assert check_splits(dict(train=ShardDataset(str(foreign), PIPELINE)), 9)['train'].clips == 8


def test_an_index_without_sizes_is_not_held_against_the_shards(tmp_path):
    write_index(tmp_path / 'index.npz', ['a.tar'], [ShardEntry('0.mp4', [0], 0, 512, 5)])
    (tmp_path / 'a.tar').touch()
    assert ShardIndex(tmp_path / 'index.npz').shard_sizes == [None]
    assert check_splits(dict(train=ShardDataset(str(tmp_path), PIPELINE)), 3)['train'].clips == 1


def test_braces_name_shards(foreign):
    pattern = str(foreign / 'wd-{000000..000001}.tar')
    assert expand_shards(pattern) == [str(foreign / f'wd-00000{i}.tar') for i in range(2)]
    assert len(ShardDataset(pattern, PIPELINE)) == 8
    assert len(ShardDataset(str(foreign / 'wd-000001.tar'), PIPELINE)) == 4


def test_label_beside_json_without_one(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        for name, content in (('0.mp4', b'video'), ('0.cls', b'2'), ('0.json', b'{"fps": 25}')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert ShardDataset(str(tmp_path), PIPELINE).get_cat_ids(0) == [2]


def without_last_member(content):
    """Cut off where a member begins, which `tarfile` takes for the end of the archive."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return content[: archive.getmembers()[-1].offset]


@pytest.mark.parametrize(
    'damage',
    [
        without_last_member,
        lambda content: content[:-10240],
        lambda content: content[:1000],
        lambda content: b'not a tar file' * 100,
        lambda content: b'',
    ],
)
def test_damaged_shards_are_refused(foreign, damage):
    path = foreign / 'wd-000001.tar'
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r'wd-000001\.tar is no whole tar file of clips: '):
        ShardDataset(str(foreign), PIPELINE)
    assert not (foreign / 'index.npz').exists()


def test_shards_without_videos_are_refused(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        archive.addfile(tarfile.TarInfo('x.cls'), io.BytesIO())
    with pytest.raises(ValueError, match=r'(no sample holds a video|invalid literal)'):
        ShardDataset(str(tmp_path), PIPELINE)
    with pytest.raises(FileNotFoundError, match=r'no \.tar files'):
        ShardDataset(str(tmp_path / 'none'), PIPELINE) if (tmp_path / 'none').mkdir() is None else 0


def test_cut_off_shard_is_an_unreadable_clip(clips, tmp_path):
    for path in (clips / 'packed').iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    first = ShardIndex(tmp_path / 'index.npz').shards[0]
    Path(first).write_bytes(Path(first).read_bytes()[:2000])
    dataset = ShardDataset(str(tmp_path), PIPELINE, test_mode=True)
    assert 'is cut off' in dataset[0]['data_samples'].unreadable
    with pytest.raises(ConfigError, match=r'has 2000 bytes, but \d+ when .*index\.npz was written'):
        check_splits(dict(train=dataset), 3)
    Path(first).unlink()
    assert 'No such file' in dataset[0]['data_samples'].unreadable
    with pytest.raises(ConfigError, match='does not exist: the shards belong beside their index'):
        check_splits(dict(train=dataset), 3)


def test_missing_shard_within_a_wrapper_is_named(clips, tmp_path):
    index = write_index(tmp_path / 'index.npz', ['a.tar'], [ShardEntry('0.mp4', [0], 0, 512, 5)])
    assert index == 1
    dataset = ClassBalancedDataset(ShardDataset(str(tmp_path), PIPELINE), oversample_thr=0.5)
    with pytest.raises(ConfigError, match=r'1 of 1 clips do not exist: .*/a\.tar'):
        check_splits(dict(train=dataset), 3)
    (tmp_path / 'a.tar').touch()
    assert check_splits(dict(train=dataset), 3)['train'].clips == 1


def test_labels_are_checked_from_the_index(clips):
    dataset = ShardDataset(str(clips / 'packed'), PIPELINE)
    facts = check_splits(dict(train=dataset), 3)['train']
    assert (facts.clips, facts.classes, facts.lowest, facts.highest) == (10, 3, 0, 2)
    with pytest.raises(ConfigError, match='label 2 is there, but the head has num_classes=2'):
        check_splits(dict(train=dataset), 2)
    with pytest.raises(ValueError, match='label 2 is outside num_classes=2'):
        ShardDataset(str(clips / 'packed'), PIPELINE, num_classes=2)


def test_index_travels_by_its_path(clips):
    index = ShardIndex(clips / 'packed' / 'index.npz')
    assert len(pickle.dumps(index)) < 500
    assert pickle.loads(pickle.dumps(index))[9] == index[9]
    assert isinstance(index.all_labels, np.memmap)
    with np.load(clips / 'packed' / 'index.npz') as arrays:
        assert arrays['label'].tolist() == [i % 3 for i in range(10)]


def test_index_holds_any_labels(tmp_path):
    entries = [ShardEntry('a', [1, 2], 0, 512, 5), ShardEntry('b \udcff', [], 1, 0, 0)]
    assert write_index(tmp_path / 'index.npz', ['a.tar', 'b.tar'], entries) == 2
    index = ShardIndex(tmp_path / 'index.npz')
    assert [index[i] for i in range(2)] == entries
    assert index.blocks().tolist() == [0, 1, 2]
    dataset = ShardDataset(
        str(tmp_path / 'index.npz'), PIPELINE, multi_class=True, num_classes=4, indices=[1, 0]
    )
    assert dataset.get_data_info(1)['label'].tolist() == [0, 1, 1, 0]
    with pytest.raises(ValueError, match='a has several labels'):
        ShardDataset(str(tmp_path / 'index.npz'), PIPELINE)


def test_clips_without_a_label_have_none_of_several(tmp_path):
    write_index(tmp_path / 'index.npz', ['a.tar'], [ShardEntry('a', [-1], 0, 512, 5)])
    one = ShardDataset(str(tmp_path), PIPELINE)
    assert (one.get_data_info(0)['label'], one.get_cat_ids(0)) == (-1, [-1])
    several = ShardDataset(str(tmp_path), PIPELINE, multi_class=True, num_classes=3)
    assert several.get_data_info(0)['label'].tolist() == [0, 0, 0]
    assert several.get_cat_ids(0) == []


def test_indices_choose_clips_as_of_files(clips):
    for indices in (3, -3, [8, 1]):
        files, shards = (
            make(str(clips / source), PIPELINE, indices=indices)
            for make, source in ((VideoDataset, 'list.txt'), (ShardDataset, 'packed'))
        )
        names = [files.get_data_info(i)['filename'] for i in range(len(files))]
        assert [shards.get_data_info(i)['filename'] for i in range(len(shards))] == names


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'x' * 1000])
def test_what_is_no_index_is_refused(tmp_path, content):
    (tmp_path / 'index.npz').write_bytes(content)
    with pytest.raises(ValueError, match=r'index\.npz is no index of shards'):
        ShardIndex(tmp_path / 'index.npz')


def test_blocks_keep_a_few_shards_open(clips):
    dataset = ShardDataset(str(clips / 'packed'), PIPELINE)
    bounds = dataset.blocks()
    sampler = BlockSampler(dataset, window=1, seed=0)
    order = [int(key) for key in sampler]
    assert sorted(order) == list(range(10))
    of_shard = np.searchsorted(bounds, order, side='right')
    assert len(np.flatnonzero(np.diff(of_shard))) == len(bounds) - 2
    sampler.set_epoch(1)
    assert [int(key) for key in sampler] != order


def test_randomness_of_an_order_is_measured():
    labels = np.repeat(np.arange(100), 100)
    draws = np.random.default_rng(0)
    full = order_randomness(draws.permutation(10_000), labels, 64)
    assert full['spread'] == pytest.approx(1, abs=0.02)
    assert full['classes'] == pytest.approx(1, abs=0.02)
    listed = order_randomness(np.arange(10_000), labels, 64)
    assert listed['spread'] < 0.01
    assert listed['classes'] < 0.05
    sampler = BlockSampler(range(10_000), window=4, block=500, seed=0)
    blocks = order_randomness(sampler._order(), labels, 64)
    assert 0.2 < blocks['classes'] < 0.6


@pytest.mark.parametrize('name', ['window', 'block'])
def test_sizes_of_blocks_are_positive(name):
    with pytest.raises(ValueError, match=f'{name}=0 of BlockSampler'):
        BlockSampler(range(4), seed=0, **{name: 0})
