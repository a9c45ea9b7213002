"""HVUDataset and ImageDataset: from lists to labels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.datasets import HVUDataset, ImageDataset
from tests.video_factory import frame_pixels

TAGS = dict(tag_categories=('action', 'event', 'scene'), tag_category_nums=(4, 2, 3))
ENTRIES = [
    dict(filename='a.mp4', label=dict(scene=[0, 2], action=[3])),
    dict(filename='b c.mp4', label=dict(event=[1])),
    dict(filename='d.mp4', label=dict(action=[])),
]


@pytest.fixture
def make(tmp_path):
    def dataset(entries=ENTRIES, name='list.json', **kwargs):
        text = entries if isinstance(entries, str) else json.dumps(entries)
        (tmp_path / name).write_text(text)
        return HVUDataset(name, [], data_root=str(tmp_path), **{**TAGS, **kwargs})

    dataset.root = tmp_path
    return dataset


def test_labels_are_offset_by_category(make):
    dataset = make()
    first, second, third = (dataset.get_data_info(index) for index in range(3))
    assert first['label'].tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 1]
    assert first['category_mask'].tolist() == [1, 0, 1]
    assert second['label'].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert second['category_mask'].tolist() == [0, 1, 0]
    # A category without labels is labeled all the same.
    assert third['label'].sum() == 0
    assert third['category_mask'].tolist() == [1, 0, 0]
    assert first['filename'] == str(make.root / 'a.mp4')
    assert 'categories' not in first
    assert dataset.get_cat_ids(0) == [3, 6, 8]
    assert len(HVUDataset.__init__.__defaults__[1]) == 6


def test_folders_of_frames(make):
    entries = [dict(frame_dir='v', total_frames=7, label=dict(scene=[1]))]
    info = make(entries, filename_tmpl='{:05}.jpg').get_data_info(0)
    assert (info['total_frames'], info['start_index']) == (7, 1)
    assert info['filename_tmpl'].format(3) == '00003.jpg'
    assert make().get_data_info(0)['start_index'] == 0


@pytest.mark.parametrize(
    ('entries', 'name', 'message'),
    [
        (
            [dict(filename='a', label=dict(scnee=[0]))],
            'l.json',
            r"entry 0: .*\['action', .*'scnee'",
        ),
        ([dict(filename='a', label=[3])], 'l.json', r'must be an object .* found \[3\]'),
        (
            [dict(filename='a', label=dict(event=[2]))],
            'l.json',
            r"label 2 of 'event' is outside its 2 labels \(0 to 1\)",
        ),
        ([dict(filename='a', label=dict(event=[1.0]))], 'l.json', "label 1.0 of 'event'"),
        ('a.mp4 3', 'l.txt', 'stand in a .json list'),
    ],
)
def test_errors_name_the_entry(make, entries, name, message):
    with pytest.raises(ValueError, match=message):
        make(entries, name)


def test_categories_match_label_counts(make):
    with pytest.raises(ValueError, match='2 tag_categories, but 3 tag_category_nums'):
        make(tag_categories=('a', 'b'))


def test_image_becomes_a_static_clip(tmp_path):
    (tmp_path / 'web').mkdir()
    Image.fromarray(frame_pixels(5, 64, 48)).save(tmp_path / 'web' / 'x 1.png')
    (tmp_path / 'list.txt').write_text('x 1.png 2\n')
    pipeline = [
        dict(type='ImageDecode'),
        dict(type='RandomResizedCrop'),
        dict(type='Resize', scale=(32, 32), keep_ratio=False),
        dict(type='Flip'),
        dict(type='BuildPseudoClip', clip_len=3),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    dataset = ImageDataset('list.txt', pipeline, dict(img='web'), data_root=str(tmp_path))
    np.random.seed(0)
    data = dataset[0]
    assert data['inputs'].shape == (1, 3, 3, 32, 32)
    assert torch.equal(data['inputs'][:, :, 0], data['inputs'][:, :, 2])
    assert data['data_samples'].gt_label.tolist() == [2]
    with pytest.raises(FileNotFoundError, match="key 'img'"):
        ImageDataset('list.txt', pipeline, dict(img='wbe'), data_root=str(tmp_path))
