"""RepeatAugDataset: several clips for one opened file."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmaction.datasets import (
    EpochSampler,
    RepeatAugDataset,
    SampleKey,
    reading_report,
    repeat_pseudo_collate,
)
from mmaction.datasets.decoders import PyAVReader
from tests.video_factory import frame_number

READ = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2),
    dict(type='DecordDecode'),
]
PACK = [
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


def make(root, pipeline=(*READ, *PACK), **kwargs):
    return RepeatAugDataset('list.txt', list(pipeline), data_root=str(root), **kwargs)


def test_repeats_sample_different_frames(video_folder):
    clips = make(video_folder, READ, num_repeats=3)[SampleKey(5)]
    assert len(clips) == 3
    for clip in clips:
        assert [frame_number(image) for image in clip['imgs']] == clip['frame_inds'].tolist()
        assert clip['label'] == 2
    assert len({clip['frame_inds'][0] for clip in clips}) > 1
    assert not np.shares_memory(clips[0]['imgs'], clips[1]['imgs'])


def test_sample_once_repeats_the_same_frames(video_folder):
    clips = make(video_folder, sample_once=True)[SampleKey(5)]
    assert len(clips) == 4
    starts = make(video_folder, READ, sample_once=True)[SampleKey(5)]
    assert len({clip['frame_inds'][0] for clip in starts}) == 1
    # The augmentation still differs.
    assert len({clip['inputs'].sum().item() for clip in clips}) == 4
    for image in starts[0]['imgs']:
        image[:] = 0
    assert np.any(starts[1]['imgs'])


def test_repeats_do_not_share_their_labels(video_folder):
    def relabel(results):
        results['label'] += 1
        return results

    dataset = make(video_folder, [*READ, relabel], num_repeats=3, multi_class=True, num_classes=3)
    for clip in dataset[SampleKey(5)]:
        assert clip['label'].tolist() == [1, 1, 2]


def test_file_is_decoded_once_for_all_repeats(video_folder, monkeypatch):
    asked = []
    read = PyAVReader.get_batch
    monkeypatch.setattr(
        PyAVReader, 'get_batch', lambda self, inds: asked.append(len(inds)) or read(self, inds)
    )
    make(video_folder)[SampleKey(0)]
    assert len(asked) == 1


def test_batches(video_folder):
    def batches(num_workers):
        dataset = make(video_folder, num_repeats=2)
        return list(
            DataLoader(
                dataset,
                3,
                sampler=EpochSampler(dataset, seed=1),
                num_workers=num_workers,
                collate_fn=repeat_pseudo_collate,
            )
        )

    first = batches(0)
    assert [len(batch['inputs']) for batch in first] == [6, 6]
    names = [sample.filename for sample in first[0]['data_samples']]
    assert names[::2] == names[1::2]
    for mine, reference in zip(batches(2), first, strict=True):
        assert torch.equal(torch.stack(mine['inputs']), torch.stack(reference['inputs']))


def test_unreadable_file_is_replaced_and_logged_once(video_folder, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text(f'gone.mp4 0\n{video_folder}/clip 1.mp4 1\n')
    dataset = RepeatAugDataset(str(path), [*READ, *PACK])
    batch = repeat_pseudo_collate([dataset[SampleKey(0)]])
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [1] * 4
    assert {name for name, _ in reading_report(batch).replaced} == {'gone.mp4'}
    told = [sample for sample in batch['data_samples'] if 'replaced' in sample]
    assert len(told) == 1


def test_wrong_use(video_folder):
    with pytest.raises(ValueError, match='must begin with DecordInit, a frame sampling and Decord'):
        make(video_folder, [READ[0], READ[1], dict(type='RawFrameDecode')])
    with pytest.raises(ValueError, match='must begin with'):
        make(video_folder, READ[:2])
    with pytest.raises(ValueError, match='is for training'):
        make(video_folder, test_mode=True)
    with pytest.raises(ValueError, match='num_repeats must be at least 1, found 0'):
        make(video_folder, num_repeats=0)


def test_collate_function_is_registered():
    from mmengine.registry import FUNCTIONS

    assert FUNCTIONS.get('repeat_pseudo_collate') is repeat_pseudo_collate
