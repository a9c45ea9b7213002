"""VideoDataset: from list and files to packed samples."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmaction.datasets import EpochSampler, SampleKey, VideoDataset
from tests.video_factory import frame_number

READ = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2),
    dict(type='DecordDecode'),
]
TRAIN = [
    *READ,
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


def make(root, pipeline=TRAIN, **kwargs):
    return VideoDataset('list.txt', pipeline, data_root=str(root), **kwargs)


def test_frames_match_sampled_indices(video_folder):
    data = make(video_folder, READ)[3]
    assert data['imgs'].dtype == np.uint8
    assert data['imgs'].shape == (4, 80, 128, 3)
    assert [frame_number(image) for image in data['imgs']] == list(data['frame_inds'])
    assert (data['label'], data['sample_idx']) == (0, 3)


def test_packed_sample(video_folder):
    sample = make(video_folder)[4]
    assert sample['inputs'].dtype == torch.uint8
    assert sample['inputs'].shape == (1, 3, 4, 32, 32)
    assert sample['data_samples'].gt_label.tolist() == [1]


@pytest.mark.parametrize('num_workers', [1, 4])
def test_workers_do_not_change_the_batches(video_folder, num_workers):
    def batches(workers):
        dataset = make(video_folder)
        sampler = EpochSampler(dataset, seed=3)
        sampler.set_epoch(2)
        loader = DataLoader(
            dataset, 2, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate
        )
        return [torch.stack(batch['inputs']) for batch in loader]

    for mine, reference in zip(batches(num_workers), batches(0), strict=True):
        assert torch.equal(mine, reference)


def test_sample_key_determines_augmentation(video_folder):
    dataset = make(video_folder)
    first = dataset[SampleKey(1, epoch=0, seed=5)]['inputs']
    np.random.rand(3)
    assert torch.equal(first, dataset[SampleKey(1, epoch=0, seed=5)]['inputs'])
    assert not torch.equal(first, dataset[SampleKey(1, epoch=1, seed=5)]['inputs'])
    assert not torch.equal(first, dataset[SampleKey(1, epoch=0, seed=6)]['inputs'])


def test_split_placeholder_selects_the_list(video_folder):
    (video_folder / 'list_split3.txt').write_text('clip 2.mp4 1\n')

    def make(ann_file, split):
        return VideoDataset(ann_file, READ, data_root=str(video_folder), split=split)

    assert len(make('list_split{split}.txt', 3)) == 1
    with pytest.raises(FileNotFoundError, match='list_split4'):
        make('list_split{split}.txt', 4)
    with pytest.raises(
        ValueError, match=r"split=2, but there is no \{split\} in ann_file='list.txt'"
    ):
        make('list.txt', 2)
