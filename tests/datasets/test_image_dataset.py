"""Lists of images, read as clips that stand still."""

import numpy as np
import pytest
from PIL import Image

from mmaction.datasets import ImageDataset
from tests.video_factory import frame_pixels

PIPELINE = [
    dict(type='ImageDecode'),
    dict(type='BuildPseudoClip', clip_len=3),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'images').mkdir()
    for number in range(2):
        Image.fromarray(frame_pixels(number, 32, 24)).save(tmp_path / 'images' / f'{number}.png')
    (tmp_path / 'list.txt').write_text('0.png 1\n1.png 0 2\n')
    return tmp_path


def dataset(root, **options):
    options = dict(data_prefix=dict(img='images'), data_root=str(root)) | options
    return ImageDataset('list.txt', options.pop('pipeline', PIPELINE), **options)


def test_an_image_is_a_clip_of_equal_frames(root):
    (root / 'list.txt').write_text('0.png 1\n1.png 0\n')
    sample = dataset(root)[1]
    assert sample['inputs'].shape == (1, 3, 3, 24, 32)
    for frame in sample['inputs'][0].unbind(1):
        np.testing.assert_array_equal(frame.permute(1, 2, 0), frame_pixels(1, 32, 24))
    assert sample['data_samples'].gt_label.tolist() == [0]


def test_items_and_several_labels(root):
    images = dataset(root, pipeline=[], multi_class=True, num_classes=3)
    assert [images[i]['filename'] for i in range(2)] == [
        str(root / 'images' / f'{i}.png') for i in range(2)
    ]
    assert [np.asarray(images[i]['label']).tolist() for i in range(2)] == [[0, 1, 0], [1, 0, 1]]


def test_a_damaged_image_is_replaced(root):
    (root / 'list.txt').write_text('0.png 1\n1.png 0\n')
    (root / 'images' / '1.png').write_bytes(b'no image')
    assert dataset(root)[1]['data_samples'].gt_label.tolist() == [1]
