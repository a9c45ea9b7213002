"""RawframeDataset: folders of images, with and without offset, of color and of flow."""

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmaction.datasets import RawframeDataset
from mmaction.registry import DATASETS

READ = [dict(type='SampleFrames', clip_len=3, frame_interval=2), dict(type='RawFrameDecode')]


def frame(index, folder=0):
    """A lossless picture whose gray level tells folder and index."""
    return np.full((6, 8, 3), (index, 100 + folder, 200), np.uint8)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('frames')
    for folder in range(2):
        (root / f'my clip {folder}').mkdir()
        for index in range(1, 21):
            path = root / f'my clip {folder}' / f'img_{index:05}.png'
            assert cv2.imwrite(str(path), frame(index, folder)[..., ::-1])
            for axis, level in zip('xy', (index, 2 * index), strict=True):
                flow = root / f'my clip {folder}' / f'{axis}_{index:05}.png'
                assert cv2.imwrite(str(flow), np.full((6, 8), level, np.uint8))
    (root / 'list.txt').write_text('my clip 0 20 1\nmy clip 1 20 0\n')
    (root / 'offset.txt').write_text('my clip 0 10 6 1\n')
    return root


def make(root, ann_file='list.txt', pipeline=READ, template='img_{:05}.png', **kwargs):
    init_default_scope('mmaction')
    return DATASETS.build(
        dict(
            type='RawframeDataset',
            ann_file=ann_file,
            pipeline=pipeline,
            data_root=str(root),
            filename_tmpl=template,
            **kwargs,
        )
    )


def test_items(root):
    dataset = make(root, pipeline=[])
    assert isinstance(dataset, RawframeDataset)
    assert dataset[1] == dict(
        frame_dir=str(root / 'my clip 1'),
        total_frames=20,
        label=0,
        filename_tmpl='img_{:05}.png',
        modality='RGB',
        start_index=1,
        sample_idx=1,
    )
    folder = make(root / 'my clip 0', str(root / 'list.txt'), [], data_prefix=dict(img=None))
    assert folder[0]['frame_dir'] == 'my clip 0'


def test_frames_match_sampled_indices(root):
    data = make(root)[1]
    assert data['imgs'].shape == (3, 6, 8, 3)
    expected = np.stack([frame(index, 1) for index in data['frame_inds']])
    assert np.array_equal(data['imgs'], expected)
    assert data['frame_inds'].min() >= 1


def test_offset_skips_leading_frames(root):
    whole = [dict(type='SampleFrames', clip_len=6, test_mode=True), dict(type='RawFrameDecode')]
    data = make(root, 'offset.txt', whole, with_offset=True)[0]
    assert data['imgs'][:, 0, 0, 0].tolist() == [11, 12, 13, 14, 15, 16]


def test_flow_has_two_channels(root):
    data = make(root, template='{}_{:05d}.png', modality='Flow')[0]
    assert data['imgs'].shape == (3, 6, 8, 2)
    assert data['imgs'][:, 0, 0].tolist() == [[i, 2 * i] for i in data['frame_inds']]


def test_several_labels(root, tmp_path):
    # In a text list, the number at the end of the folder's name would be taken for a count.
    path = tmp_path / 'multi.json'
    path.write_text('[{"frame_dir": "my clip 0", "total_frames": 20, "label": [1, 3]}]')
    dataset = make(root, str(path), [], multi_class=True, num_classes=4)
    assert dataset[0]['label'].tolist() == [0, 1, 0, 1]


def test_a_missing_frame_is_replaced_in_training_and_marked_in_testing(root, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('no folder 20 1\nmy clip 0 20 0\n')
    pack = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
    trained = make(root, str(path), [*READ, *pack])[0]
    assert trained['data_samples'].gt_label.item() == 0
    ((name, reason),) = set(trained['data_samples'].replaced)
    assert name.startswith(str(root / 'no folder' / 'img_000'))
    wrong_start = '(start_index=1: is the first frame of a folder number 1?)'
    assert reason == f'No such file or directory {wrong_start}'
    tested = make(root, str(path), [*READ, *pack], test_mode=True)[0]
    assert tested['inputs'].shape == (1, 3, 3, 256, 340)
    assert 'No such file' in tested['data_samples'].unreadable
