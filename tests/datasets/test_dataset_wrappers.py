"""JointSampler and ClassBalancedDataset: shares, chances, and seeds that belong to samples."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, pseudo_collate
from torch.utils.data import DataLoader

from mmaction.datasets import ClassBalancedDataset, JointSampler, SampleKey, VideoDataset
from mmaction.datasets.samplers import class_weights
from mmaction.registry import DATA_SAMPLERS

TRAIN = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=2),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(16, 16), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


class Labels(VideoDataset):
    """A dataset of labels without videos."""

    def __init__(self, labels):
        self.labels = labels
        super().__init__('', [], lazy_init=True)
        self._fully_initialized = True

    def full_init(self):
        pass

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, idx):
        label = self.labels[int(idx)]
        return label if isinstance(label, list) else [label]


SIZES = (7, 20, 3)
OFFSETS = (0, 7, 27, 30)


def joined(sizes=SIZES):
    return ConcatDataset([Labels([0] * size) for size in sizes])


def make(ratio=(2, 1, 1), world=1, rank=0, dataset=None, **kwargs):
    config = dict(type='JointSampler', ratio=list(ratio), seed=5, **kwargs)
    sampler = DATA_SAMPLERS.build(config, default_args=dict(dataset=dataset or joined()))
    sampler.world_size, sampler.rank = world, rank
    return sampler


def source_of(key):
    return int(np.searchsorted(OFFSETS, int(key), side='right')) - 1


def epochs(sampler, number):
    for epoch in range(number):
        sampler.set_epoch(epoch)
        yield list(sampler)


@pytest.mark.parametrize('ratio', [(2, 1, 1), (1, 3, 2), (5, 1, 4)])
def test_every_window_has_the_ratio(ratio):
    sampler = make(ratio)
    groups = -(-7 // ratio[0])
    for keys in epochs(sampler, 3):
        assert len(keys) == len(sampler) == groups * sum(ratio)
        for start in range(0, len(keys), sum(ratio)):
            group = Counter(map(source_of, keys[start : start + sum(ratio)]))
            assert tuple(group[i] for i in range(3)) == ratio
    orders = [tuple(map(source_of, keys)) for keys in epochs(sampler, 4)]
    assert len(set(orders)) == 4


def test_clips_of_a_source_are_used_equally_often():
    uses = Counter(int(key) for keys in epochs(make((2, 1, 1)), 35) for key in keys)
    # 35 epochs of 4 groups: 280 of 7 clips, 140 of 20, 140 of 3.
    assert {uses[i] for i in range(7)} == {40}
    assert {uses[i] for i in range(7, 27)} == {7}
    assert {uses[i] for i in range(27, 30)} <= {46, 47}


@pytest.mark.parametrize('power', [None, 1])
def test_sources_of_one_size_have_orders_of_their_own(power):
    """Frames and optical flow of the same clips, say, do not come in pairs."""
    sampler = make((1, 1), dataset=joined((20, 20)), class_power=[power] * 2)
    keys = [int(key) for key in sampler]
    assert [k for k in keys if k < 20] != [k - 20 for k in keys if k >= 20]


def test_duplicated_clip_is_sampled_twice():
    sampler = make((1, 1, 4))
    keys = next(epochs(sampler, 1))
    assert len({key.entropy for key in keys}) == len(keys) == 42
    assert len({int(key) for key in keys}) < 42
    again = next(epochs(make((1, 1, 4)), 1))
    assert [key.entropy for key in again] == [key.entropy for key in keys]
    assert list(map(int, again)) == list(map(int, keys))


@pytest.mark.parametrize('world', [2, 3])
def test_ranks_share_order_and_resume_within_it(world):
    whole = [(int(key), key.entropy) for key in make()]
    for skip in (0, 6):
        samplers = [make(world=world, rank=rank) for rank in range(world)]
        for sampler in samplers:
            sampler.skip(skip)
        shares = [[(int(key), key.entropy) for key in sampler] for sampler in samplers]
        mixed = [share[step] for step in range(len(shares[0])) for share in shares]
        assert mixed[: len(whole) - skip] == whole[skip:]
    with pytest.raises(ValueError, match='cannot skip 99 samples of an epoch of 16'):
        make().skip(99)


def test_class_power():
    labels = [0] * 80 + [1] * 16 + [2] * 4
    for power, shares in ((1, (0.8, 0.16, 0.04)), (0, (1 / 3,) * 3), (0.5, (9, 4, 2))):
        weights = class_weights(Labels(labels), power)
        found = [weights[np.array(labels) == label].sum() for label in range(3)]
        expected = np.sqrt([80, 16, 4]) if power == 0.5 else np.array(shares)
        np.testing.assert_allclose(found, expected / expected.sum())
    # One source alone: every class as often as every other.
    sampler = make([1], dataset=Labels(labels), class_power=[0])
    drawn = Counter(labels[int(key)] for keys in epochs(sampler, 30) for key in keys)
    assert sum(drawn.values()) == 3000
    assert all(900 < drawn[label] < 1100 for label in range(3))
    # A clip of several labels counts as one of the rarest.
    weights = class_weights(Labels([[0], [0], [0, 1]]), 0)
    np.testing.assert_allclose(weights, [0.2, 0.2, 0.6])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(ratio=[1, 2]), r'ratio=\[1, 2\] of JointSampler: one number .* 3 datasets'),
        (dict(class_power=[1]), r'class_power=\[1\] of JointSampler'),
        (dict(ratio=[1, 0, 2]), 'takes integers of at least 1'),
        (dict(class_power=[None, 2, None]), 'class_power=2 must lie in 0 to 1'),
        (dict(class_power=[None, 0.5, None], dataset=ConcatDataset(
            [Labels([0]), Labels([0, -1]), Labels([0])])), 'sample 1 of .* has no label'),
    ],
)  # fmt: skip
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


# ---------------------------------------------------------------- with videos


def load(dataset, sampler, workers):
    loader = DataLoader(dataset, 3, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate)
    return [clip for batch in loader for clip in batch['inputs']]


@pytest.mark.parametrize('kind', ['joint', 'balanced'])
def test_workers_do_not_change_the_clips(video_folder, kind):
    def clips(workers):
        dataset = VideoDataset('list.txt', TRAIN, data_root=str(video_folder))
        if kind == 'joint':
            both = ConcatDataset([dataset, dataset])
            return load(both, JointSampler(both, [2, 1], seed=3), workers)
        balanced = ClassBalancedDataset(dataset, oversample_thr=1.0)
        return load(balanced, JointSampler(balanced, seed=3), workers)

    first = clips(0)
    assert len(first) == (9 if kind == 'joint' else 12)
    for mine, reference in zip(clips(2), first, strict=True):
        assert torch.equal(mine, reference)
    assert len({clip.sum().item() for clip in first}) == len(first)


def test_class_balanced_repeats_rare_classes(video_folder):
    (video_folder / 'rare.txt').write_text(
        ''.join(f'clip {i}.mp4 {int(i == 5)}\n' for i in range(6))
    )
    dataset = VideoDataset('rare.txt', TRAIN, data_root=str(video_folder))
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.6)
    # The class of one clip in six: sqrt(0.6 * 6) = 1.9 times, rounded up.
    assert [balanced.get_cat_ids(i)[0] for i in range(len(balanced))] == [0] * 5 + [1, 1]
    keys = [SampleKey(place, seed=1) for place in (5, 6)]
    first, second = (balanced[key] for key in keys)
    assert first['data_samples'].filename == second['data_samples'].filename
    assert not torch.equal(first['inputs'], second['inputs'])
    assert torch.equal(balanced[keys[0]]['inputs'], first['inputs'])
    config = dict(type='VideoDataset', ann_file='rare.txt', pipeline=TRAIN)
    config['data_root'] = str(video_folder)
    assert len(ClassBalancedDataset(config, oversample_thr=0.6)) == 7
