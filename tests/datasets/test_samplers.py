"""EpochSampler and SampleKey: order, shares, keys, skipping."""

import copy
import pickle

import pytest

from mmaction.datasets import EpochSampler, SampleKey
from mmaction.registry import DATA_SAMPLERS


def make(size, world=1, rank=0, **kwargs):
    sampler = EpochSampler(range(size), **{'seed': 7, **kwargs})
    sampler.world_size, sampler.rank = world, rank
    return sampler


def indices(sampler):
    return [key.index for key in sampler]


def merged(size, world, skip=0, **kwargs):
    """What the processes take, step by step."""
    samplers = [make(size, world, rank, **kwargs) for rank in range(world)]
    for sampler in samplers:
        sampler.skip(skip)
    shares = [indices(sampler) for sampler in samplers]
    steps = max(map(len, shares))
    return [share[step] for step in range(steps) for share in shares if step < len(share)]


def test_order_depends_only_on_seed_and_epoch():
    sampler = make(50)
    first = indices(sampler)
    assert sorted(first) == list(range(50))
    assert indices(sampler) == first
    sampler.set_epoch(1)
    second = indices(sampler)
    assert second != first
    assert indices(make(50, seed=8)) not in (first, second)
    sampler.set_epoch(0)
    assert indices(sampler) == first
    assert indices(make(5, shuffle=False)) == [0, 1, 2, 3, 4]


def test_keys_hold_epoch_and_seed():
    sampler = make(3, shuffle=False)
    sampler.set_epoch(4)
    assert [(key.index, key.epoch, key.seed) for key in sampler] == [
        (0, 4, 7),
        (1, 4, 7),
        (2, 4, 7),
    ]


@pytest.mark.parametrize('world', [2, 3])
def test_processes_share_one_order(world):
    assert merged(11, world, round_up=False) == indices(make(11))
    rounded = merged(11, world)
    assert rounded[:11] == indices(make(11))
    assert rounded[11:] == rounded[: -11 % world]
    lengths = [len(make(11, world, rank)) for rank in range(world)]
    assert lengths == [len(indices(make(11, world, rank))) for rank in range(world)]
    assert len(set(lengths)) == 1
    exact = [make(11, world, rank, round_up=False) for rank in range(world)]
    assert [len(sampler) for sampler in exact] == [len(indices(sampler)) for sampler in exact]


def test_more_processes_than_samples():
    assert merged(2, 5) == [*indices(make(2)), *indices(make(2)), indices(make(2))[0]]
    assert [len(make(2, 5, rank, round_up=False)) for rank in range(5)] == [1, 1, 0, 0, 0]


def test_skip_continues_within_the_epoch():
    whole = indices(make(12))
    assert merged(12, 1, skip=4) == whole[4:]
    assert merged(12, 2, skip=4) == whole[4:]
    assert merged(12, 3, skip=12) == []


def test_skip_applies_to_one_epoch_only():
    sampler = make(10)
    whole = indices(sampler)
    sampler.skip(6)
    assert len(sampler) == 10
    sampler.set_epoch(0)
    assert indices(sampler) == whole[6:]
    assert indices(sampler) == whole
    sampler.skip(6)
    sampler.set_epoch(1)
    assert len(indices(sampler)) == 10
    with pytest.raises(ValueError, match='cannot skip 11 samples of an epoch of 10'):
        sampler.skip(11)


def test_state_dict():
    sampler = make(10)
    sampler.set_epoch(3)
    sampler.skip(4)
    other = make(10, seed=1)
    other.load_state_dict(sampler.state_dict())
    assert list(other) == list(sampler)
    assert other.seed == 7


def test_random_seed_if_none_is_given():
    sampler = DATA_SAMPLERS.build(dict(type='EpochSampler', dataset=range(5), seed=None))
    assert isinstance(sampler.seed, int)
    assert sorted(indices(sampler)) == [0, 1, 2, 3, 4]


def test_sample_key_is_an_integer_with_epoch_and_seed():
    key = SampleKey(17, epoch=2, seed=5)
    assert list(range(20))[key] == 17
    assert key.entropy == (5, 2, 17)
    for inner in (key - 10, key % 10):
        assert (inner, inner.entropy) == (7, (5, 2, 17))
    for twin in (copy.deepcopy(key), pickle.loads(pickle.dumps(key))):
        assert (twin, twin.entropy) == (17, (5, 2, 17))
    assert repr(key) == 'SampleKey(index=17, epoch=2, seed=5)'


def test_skip_that_is_no_multiple_of_the_ranks():
    whole = indices(make(11))
    for skip in (1, 4, 5):
        assert merged(11, 3, skip=skip, round_up=False) == whole[skip:]
