"""Flips that change labels are held against the classes of the data."""

import numpy as np
import pytest
from mmengine.config import Config

from mmaction.datasets import VideoDataset
from mmaction.engine.hooks.run_summary import flip_facts
from mmaction.engine.runner.data_check import check_splits
from mmaction.errors import ConfigError

PICO = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
DIGITS = [
    'moving left', 'moving right', 'moving up', 'moving down', 'turning clockwise',
    'turning counter-clockwise', 'growing', 'shrinking',
]  # fmt: skip


def dataset(tmp_path, pipeline, classes=None, labels=(0, 1)):
    (tmp_path / 'a.mp4').touch()
    (tmp_path / 'train.txt').write_text(''.join(f'a.mp4 {label}\n' for label in labels))
    if classes:
        (tmp_path / 'classes.txt').write_text('\n'.join(classes) + '\n')
    return VideoDataset('train.txt', pipeline, data_root=str(tmp_path), data_prefix=dict(video=''))


def flips(steps):
    return [dict(step, flip_ratio=1.0) for step in steps if step['type'] == 'Flip']


def flipped(data, label):
    imgs = np.zeros((1, 4, 4, 3), np.uint8)
    results = dict(imgs=imgs, img_shape=(4, 4), modality='RGB', label=label)
    return [dict(step(dict(results)))['label'] for step in data.pipeline.transforms]


@pytest.fixture(scope='module')
def pico_flips():
    return flips(Config.fromfile(PICO).train_dataloader.dataset.pipeline)


def test_motion_digits_keep_their_label_map(tmp_path, pico_flips):
    data = dataset(tmp_path, pico_flips, DIGITS)
    expected = [[1, 0], [0, 1], [2, 3], [3, 2], [5, 5], [4, 4], [6, 6], [7, 7]]
    assert [flipped(data, label) for label in range(8)] == expected
    lines, warnings = flip_facts(data)
    assert 'horizontal Flip changes moving left -> moving right' in lines[0]
    assert warnings == []


@pytest.mark.parametrize('classes', [None, ['run', 'jump', 'walk'], [str(i) for i in range(8)]])
def test_own_classes_are_not_swapped_by_an_inherited_map(tmp_path, pico_flips, classes):
    data = dataset(tmp_path, pico_flips, classes)
    assert [flipped(data, label) for label in range(3)] == [[0, 0], [1, 1], [2, 2]]
    lines, warnings = flip_facts(data)
    assert lines == []
    assert len(warnings) == 2
    assert 'names moving left, moving right' in warnings[0]
    assert 'swaps no labels' in warnings[0]


def test_half_of_the_names_is_an_error(tmp_path, pico_flips):
    with pytest.raises(ValueError, match=r'flip_label_map of Flip: moving right, turning'):
        dataset(tmp_path, pico_flips, ['moving left', 'run'])


def test_numbers_outside_the_classes_are_an_error(tmp_path):
    steps = [dict(type='Flip', flip_label_map={0: 5, 5: 0})]
    with pytest.raises(ConfigError, match=r'swaps label 5, but there are 2 classes'):
        check_splits(dict(train=dataset(tmp_path, steps)), 2)
    with pytest.raises(ValueError, match=r'flip_label_map of Flip: 5 is none of the 2 classes'):
        dataset(tmp_path, steps, ['run', 'jump'])


def test_head_of_fewer_classes_than_the_data_names_is_an_error(tmp_path):
    """The map is of this dataset: it is the head that is not."""
    data = dataset(tmp_path, [dict(type='Flip', flip_label_map='names')], DIGITS)
    with pytest.raises(ConfigError, match=r'train\.txt: 8 classes .* num_classes=2\. Set model'):
        check_splits(dict(train=data), 2)


def test_numbers_of_classes_that_are_no_mirror_images_are_warned_of(tmp_path):
    steps = [dict(type='Flip', flip_label_map={0: 1, 1: 0})]
    lines, warnings = flip_facts(dataset(tmp_path, steps, ['run', 'jump']))
    assert lines == ['labels: a horizontal Flip changes run -> jump, jump -> run']
    assert "labels mirrored clips of 'run' as 'jump': is it of this dataset?" in warnings[0]
    (tmp_path / 'b').mkdir()
    lines, warnings = flip_facts(dataset(tmp_path / 'b', steps, ['go left', 'go right']))
    assert warnings == []
