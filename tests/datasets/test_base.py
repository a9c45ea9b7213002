"""BaseActionDataset: paths, classes, labels, and clips that cannot be read."""

import copy
import ctypes
import os
import pickle
import signal
import time

import av
import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset, pseudo_collate
from mmengine.utils import digit_version
from torch.utils.data import DataLoader

from mmaction.datasets import EpochSampler, SampleKey, UnreadableVideoError, VideoDataset
from mmaction.datasets.decoders import OpenCVReader
from mmaction.datasets.transforms import DecordInit
from tests.processes import Forked
from tests.video_factory import BROKEN, write_broken, write_video

REST = [
    dict(type='SampleFrames', clip_len=4),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(24, 24), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
PIPELINE = [dict(type='DecordInit'), *REST]
INFO = []


class Misbehaving(DecordInit):
    """Opens videos, but hangs on or crashes at some."""

    def open(self, filename, results):
        if filename.endswith('hang.mp4'):
            ctypes.PyDLL(None).sleep(1000)
        if filename.endswith('crash.mp4'):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().open(filename, results)


@pytest.fixture
def folder(tmp_path):
    """Make a dataset of six good videos and of others."""
    video = write_video(tmp_path / 'good.mp4', num_frames=10)

    def make(others=(), good=6, pipeline=PIPELINE, **kwargs):
        names = [f'good{number}.mp4' for number in range(good)]
        for name in names:
            (tmp_path / name).write_bytes(video.read_bytes())
        lines = [f'{name} {number % 3}' for number, name in enumerate([*names, *others])]
        (tmp_path / 'list.txt').write_text('\n'.join(lines))
        return VideoDataset('list.txt', pipeline, data_root=str(tmp_path), **kwargs)

    make.root = tmp_path
    return make


def load(dataset, num_workers=0, seed=1, **kwargs):
    sampler = EpochSampler(dataset, seed=seed, shuffle=not getattr(dataset, 'test_mode', False))
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
        **kwargs,
    )
    return [
        dict(inputs=inputs, sample=sample)
        for batch in loader
        for inputs, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]


# Where files are


def test_data_root_is_joined_with_relative_paths(folder, tmp_path):
    dataset = folder(pipeline=INFO)
    assert dataset.ann_file == str(tmp_path / 'list.txt')
    assert dataset[0]['filename'] == str(tmp_path / 'good0.mp4')
    (tmp_path / 'sub').mkdir()
    inner = VideoDataset('list.txt', INFO, dict(video='sub'), data_root=str(tmp_path))
    assert inner[0]['filename'] == str(tmp_path / 'sub' / 'good0.mp4')
    absolute = VideoDataset(str(tmp_path / 'list.txt'), INFO, dict(video=str(tmp_path / 'sub')))
    assert absolute[0]['filename'] == str(tmp_path / 'sub' / 'good0.mp4')


def test_non_folder_prefixes_are_kept(folder):
    ann_file = folder(pipeline=INFO).ann_file
    remote = VideoDataset(ann_file, INFO, dict(video='s3://bucket/clips'), data_root='/data')
    assert remote[0]['filename'] == 's3://bucket/clips/good0.mp4'
    bare = VideoDataset(ann_file, INFO, dict(video=None), data_root='/data')
    assert bare[0]['filename'] == 'good0.mp4'


def test_missing_files_are_named_with_config_key(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.txt' does not exist: set `ann_file`"):
        VideoDataset('no.txt', INFO, data_root=str(tmp_path))
    ann_file = folder(pipeline=INFO).ann_file
    with pytest.raises(
        FileNotFoundError, match=r"'nowhere' does not exist: set `data_prefix` \(ke"
    ):
        VideoDataset(ann_file, INFO, dict(video='nowhere'))
    with pytest.raises(TypeError, match=r"must be a dict such as .*, found 'clips'"):
        VideoDataset(ann_file, INFO, 'clips')


def test_lazy_init_reads_the_list_later(folder, tmp_path):
    dataset = VideoDataset('no.txt', INFO, data_root=str(tmp_path), lazy_init=True)
    with pytest.raises(FileNotFoundError):
        len(dataset)
    assert len(folder(pipeline=INFO, lazy_init=True)) == 6


def test_subsets_and_copies(folder):
    dataset = folder(pipeline=INFO, indices=4)
    assert [dataset[i]['filename'][-5] for i in range(len(dataset))] == list('0123')
    assert dataset.get_subset([2, 0])[0]['filename'].endswith('good2.mp4')
    assert copy.deepcopy(dataset)[1] == dataset[1]
    assert pickle.loads(pickle.dumps(dataset))[1] == dataset[1]
    assert dataset[-1]['sample_idx'] == 3
    assert len(list(dataset)) == 4


# Classes and labels


def test_classes_file_next_to_the_list(folder, tmp_path):
    assert 'classes' not in folder(pipeline=INFO).metainfo
    (tmp_path / 'classes.txt').write_text('run\njump\nsit still\n')
    assert folder(pipeline=INFO, lazy_init=True).metainfo['classes'] == ['run', 'jump', 'sit still']
    given = folder(pipeline=INFO, metainfo=dict(classes=('a', 'b', 'c')))
    assert given.metainfo['classes'] == ('a', 'b', 'c')


def test_labels_outside_the_classes_are_errors(folder, tmp_path):
    (tmp_path / 'classes.txt').write_text('run\njump\n')
    with pytest.raises(ValueError, match=r'list.txt: label 2 .*good2.*there are 2 class names'):
        folder(pipeline=INFO)
    (tmp_path / 'classes.txt').unlink()
    with pytest.raises(
        ValueError, match=r'list.txt:3: label 2 is outside the 2 classes \(0 to 1\)'
    ):
        folder(pipeline=INFO, num_classes=2)


def test_multi_labels_become_multi_hot(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 1 3\nb.mp4\n')
    with pytest.raises(ValueError, match='`multi_class=True` needs `num_classes`'):
        VideoDataset(str(tmp_path / 'list.txt'), INFO, multi_class=True)
    dataset = VideoDataset(str(tmp_path / 'list.txt'), INFO, multi_class=True, num_classes=5)
    assert dataset[0]['label'].tolist() == [0, 1, 0, 1, 0]
    assert dataset[1]['label'].tolist() == [0] * 5
    assert dataset[0]['label'].dtype == torch.float32


# Clips that cannot be read, in training


@pytest.mark.parametrize('num_workers', [0, 2])
def test_unreadable_training_clips_are_replaced_and_named(folder, num_workers):
    # Of a file with too few frames, those it has can be read.
    kinds = [kind for kind in BROKEN if kind != 'too few frames']
    others = [f'{kind}.mp4' for kind in kinds]
    dataset = folder(others, max_refetch=50)
    for kind in kinds:
        write_broken(folder.root / f'{kind}.mp4', kind)
    found = load(dataset, num_workers)
    assert len(found) == 6 + len(kinds)
    assert all(item['inputs'].shape == (1, 3, 4, 24, 24) for item in found)
    assert all('good' in item['sample'].filename for item in found)
    replaced = [name for item in found for name, _ in item['sample'].get('replaced', [])]
    # Each is drawn once, and maybe again as a replacement for another.
    firsts = [item['sample'].replaced[0][0] for item in found if 'replaced' in item['sample']]
    assert sorted(firsts) == sorted(str(folder.root / name) for name in others)
    assert set(replaced) == set(firsts)
    reasons = dict(pair for item in found for pair in item['sample'].get('replaced', []))
    assert reasons[str(folder.root / 'sound only.mp4')] == 'it holds no video stream'


def test_replacement_clips_depend_on_the_seed(folder):
    others = ['a.mp4', 'b.mp4', 'c.mp4']
    dataset = folder(others)

    def taken(num_workers, seed):
        return [
            (item['sample'].filename, item['inputs'].sum().item())
            for item in load(dataset, num_workers, seed)
        ]

    assert taken(0, 3) == taken(3, 3)
    assert taken(0, 3) != taken(0, 4)


def test_replacement_clips_have_draws_of_their_own(folder):
    """One readable clip in the place of two others is augmented in three ways."""
    dataset = folder(['a.mp4', 'b.mp4'], good=1)
    clips = [dataset[SampleKey(index, epoch=2, seed=3)]['inputs'] for index in range(3)]
    assert len({clip.sum().item() for clip in clips}) == 3


def test_training_stops_if_no_clip_is_readable(folder):
    dataset = folder(['a.mp4', 'b.mp4'], good=0, max_refetch=3)
    message = r'4 clips in a row cannot be read, more than max_refetch=3 allows.*/[ab].mp4'
    with pytest.raises(UnreadableVideoError, match=message):
        dataset[0]
    with pytest.raises(RuntimeError, match=message):
        load(dataset, num_workers=1)


def test_message_names_each_file_once(folder):
    """Not one file eleven times, in a dataset of one clip and in one of two."""
    for name in ('a.mp4', 'b.mp4'):
        write_broken(folder.root / name, 'empty')
    for names in (['a.mp4'], ['a.mp4', 'b.mp4']):
        with pytest.raises(UnreadableVideoError) as caught:
            folder(names, good=0)[0]
        assert [str(caught.value).count(f'/{name}') for name in names] == [1] * len(names)


def test_clip_that_was_tried_is_not_tried_again(folder):
    """With one readable clip of eight, seven replacements always find it."""
    names = [f'{number}.mp4' for number in range(7)]
    for name in names:
        write_broken(folder.root / name, 'empty')
    dataset = folder(names, good=1, max_refetch=7)
    for index in range(8):
        replaced = dataset[SampleKey(index, seed=3)]['data_samples'].get('replaced', [])
        assert len(dict(replaced)) == len(replaced)


def test_plain_index_uses_global_random_state(folder):
    dataset = folder()
    np.random.seed(1)
    first = dataset[0]['inputs']
    assert not torch.equal(first, dataset[0]['inputs'])
    np.random.seed(1)
    assert torch.equal(first, dataset[0]['inputs'])


# Clips that cannot be read, in testing


@pytest.mark.parametrize('num_workers', [0, 2])
def test_unreadable_test_clips_are_marked(folder, num_workers):
    dataset = folder(['gone.mp4'], test_mode=True)
    found = load(dataset, num_workers)
    assert [item['sample'].sample_idx for item in found] == list(range(7))
    lost = found[6]
    assert lost['inputs'].shape == (1, 3, 4, 24, 24)
    assert not lost['inputs'].any()
    assert 'No such file' in lost['sample'].unreadable
    assert lost['sample'].filename == str(folder.root / 'gone.mp4')
    assert lost['sample'].gt_label.tolist() == [0]
    assert not any('unreadable' in item['sample'] for item in found[:6])


def test_unreadable_test_clip_keeps_its_index_without_meta_keys(folder):
    pipeline = [*PIPELINE[:-1], dict(type='PackActionInputs', meta_keys=())]
    dataset = folder(['gone.mp4'], test_mode=True, pipeline=pipeline)
    lost = dataset[6]['data_samples']
    assert lost.sample_idx == 6
    assert lost.filename == str(folder.root / 'gone.mp4')
    assert 'sample_idx' not in dataset[5]['data_samples']


def test_test_samples_do_not_depend_on_order(folder):
    dataset = folder(test_mode=True)
    expected = dataset[2]['inputs']
    np.random.seed(5)
    assert torch.equal(expected, dataset[2]['inputs'])
    assert torch.equal(expected, dataset[SampleKey(2, epoch=4, seed=9)]['inputs'])


def test_transform_returning_none_counts_as_unreadable(folder):
    def picky(results):
        return None if results['filename'].endswith('good2.mp4') else results

    found = load(folder(pipeline=[picky, *PIPELINE]))
    told = [pair for item in found for pair in item['sample'].get('replaced', [])]
    assert set(told) == {(str(folder.root / 'good2.mp4'), 'a transform returned None')}


@pytest.mark.skipif(
    digit_version(av.__version__) < digit_version('18'),
    reason='PyAV 17 does not say which videos are interlaced, so OpenCV reads none',
)
def test_decoder_fallback_is_logged(folder, monkeypatch):
    def failing(self, filename, *args):
        raise UnreadableVideoError(filename, 'OpenCV is out of order')

    monkeypatch.setattr(OpenCVReader, '_open_fast', failing)
    write_video(folder.root / 'one.mp4', num_frames=12)
    rest = [step for step in PIPELINE if not str(step.get('type')).startswith('Decord')]
    steps = [dict(type='OpenCVInit'), rest[0], dict(type='OpenCVDecode'), *rest[1:]]
    (item,) = [
        item['sample']
        for item in load(folder(['one.mp4'], pipeline=steps))
        if 'one' in item['sample'].filename
    ]
    assert item.decoder_fallback == (str(folder.root / 'one.mp4'), 'OpenCV is out of order')


# Hangs and crashes


@pytest.mark.parametrize('test_mode', [False, True])
def test_hanging_and_crashing_files_do_not_stop_a_run(folder, test_mode):
    others = ['hang.mp4', 'crash.mp4']
    pipeline = [Misbehaving(), *REST]
    dataset = folder(others, pipeline=pipeline, decode_timeout=6.0, test_mode=test_mode)
    start = time.monotonic()
    found = load(dataset, num_workers=2)
    assert time.monotonic() - start < 60
    assert len(found) == 8
    if test_mode:
        told = {
            item['sample'].filename: item['sample'].unreadable
            for item in found
            if 'unreadable' in item['sample']
        }
        assert [item['sample'].sample_idx for item in found] == list(range(8))
    else:
        told = dict(pair for item in found for pair in item['sample'].get('replaced', []))
    assert told == {
        str(folder.root / 'hang.mp4'): 'reading it took longer than 6 s',
        str(folder.root / 'crash.mp4'): 'reading it crashed (SIGSEGV)',
    }


def test_transform_error_keeps_its_type_across_workers(folder):
    def wrong(results):
        raise KeyError('no such key')

    with pytest.raises(KeyError, match='no such key'):
        load(folder(pipeline=[wrong]), num_workers=1, multiprocessing_context='fork')


def read_all(root):
    """Print the names of the clips of a list as they are read, in this process."""
    dataset = VideoDataset(
        'list.txt', [Misbehaving(), *REST], data_root=root, decode_timeout=3.0, test_mode=True
    )
    sampler = EpochSampler(dataset, shuffle=False)
    for batch in DataLoader(dataset, sampler=sampler, collate_fn=list):
        print(batch[0]['data_samples'].filename, flush=True)


def test_hang_without_workers_ends_the_run_and_names_the_file(folder, tmp_path):
    folder(['hang.mp4'], good=2)
    run = Forked(read_all, (str(folder.root),), tmp_path / 'output.txt')
    assert run.wait() == [-signal.SIGKILL]
    output = run.output.read_text()
    assert output.splitlines()[:2] == [str(folder.root / f'good{i}.mp4') for i in range(2)]
    assert f"reading '{folder.root / 'hang.mp4'}' took longer than 3 s" in output


def test_no_child_process_without_timeout(folder):
    def who(results):
        return dict(pid=os.getpid(), parent=os.getppid())

    forked = dict(num_workers=1, collate_fn=list, multiprocessing_context='fork')
    plain = DataLoader(folder(pipeline=[who], decode_timeout=None), **forked)
    assert {item['parent'] for batch in plain for item in batch} == {os.getpid()}
    apart = DataLoader(folder(pipeline=[who]), **forked)
    assert os.getpid() not in {item['parent'] for batch in apart for item in batch}
    assert folder(pipeline=[who])[0]['pid'] == os.getpid()


# Wrappers of mmengine


def test_class_balanced(folder):
    dataset = folder(['good0.mp4'], good=3)
    assert [dataset.get_cat_ids(index) for index in range(4)] == [[0], [1], [2], [0]]
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert len(load(balanced)) == len(balanced) == 6


@pytest.mark.parametrize('wrap', [lambda d: ConcatDataset([d, d]), lambda d: RepeatDataset(d, 2)])
def test_wrapped_datasets_keep_the_seed(folder, wrap):
    dataset = wrap(folder())

    def batches(num_workers):
        return [item['inputs'] for item in load(dataset, num_workers)]

    first = batches(0)
    assert len(first) == 12
    for mine, reference in zip(batches(3), first, strict=True):
        assert torch.equal(mine, reference)
    # The same clip in its two places is augmented in two ways.
    assert len({clip.sum().item() for clip in first}) == 12
