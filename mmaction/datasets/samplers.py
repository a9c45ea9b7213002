"""Samplers whose order and keys depend on seed and epoch alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
from mmengine.dataset import ConcatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmaction.registry import DATA_SAMPLERS

from .seeding import sample_generator

__all__ = [
    'BlockSampler',
    'EpochSampler',
    'JointSampler',
    'SampleKey',
    'class_weights',
    'order_randomness',
]


class SampleKey(int):
    """The index of a sample that also says from which seed its draws come.

    It is an `int`, so it indexes any dataset. `-` and `%`, with which
    mmengine's `ConcatDataset` and `RepeatDataset` find the inner index, keep
    seed, epoch and stream.

    Args:
        index: Position in the dataset.
        epoch: Epoch in which the sample is drawn.
        seed: Seed of the run.
        stream: What tells the draws of this sample from those of others in the
            epoch: the index in the outermost dataset, by default `index`.
    """

    epoch: int
    seed: int
    stream: int

    def __new__(  # noqa: D102
        cls, index: int, epoch: int = 0, seed: int = 0, stream: int | None = None
    ) -> SampleKey:
        key = super().__new__(cls, index)
        key.epoch = int(epoch)
        key.seed = int(seed)
        key.stream = int(index if stream is None else stream)
        return key

    @property
    def index(self) -> int:
        """The position as a plain `int`."""
        return int(self)

    @property
    def entropy(self) -> tuple[int, int, int]:
        """The integers from which the draws of this sample are seeded."""
        return self.seed, self.epoch, self.stream

    def moved(self, index: int) -> SampleKey:
        """The key of another position, with the same draws."""
        return SampleKey(index, self.epoch, self.seed, self.stream)

    def __sub__(self, other: int) -> SampleKey:
        return self.moved(int(self) - int(other))

    def __mod__(self, other: int) -> SampleKey:
        return self.moved(int(self) % int(other))

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleKey, (int(self), self.epoch, self.seed, self.stream)

    def __repr__(self) -> str:
        return f'SampleKey(index={int(self)}, epoch={self.epoch}, seed={self.seed})'


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[SampleKey]):
    """All samples of a dataset once per epoch, shared out over the processes.

    The order depends on (seed, epoch) only: the batches of all processes at
    one step, taken together, are one stretch of one global order. Process r
    of w takes the positions r, r + w, r + 2w, ...

    Args:
        dataset: The dataset.
        shuffle: Draw a new order each epoch.
        seed: Seed of order and samples, the same in all processes; None draws
            one and shares it.
        round_up: Repeat samples from the start of the order so that every
            process gets equally many, which training needs. False leaves out
            and repeats nothing, which testing needs; processes then differ by
            at most one sample.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else int(seed)
        self.round_up = round_up
        self.epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass takes.

        A pending `skip` holds as long as the epoch stays the same.
        """
        if epoch != self.epoch:
            self._skipped = 0
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Let the next pass start after samples that are used already.

        Nothing is decoded for them. The count is that of all processes
        together (steps x batch size x processes), so a run may go on with
        another number of processes. `len` stays that of the whole epoch.

        Raises:
            ValueError: The epoch does not hold that many samples.
        """
        total = self._num_positions()
        if not 0 <= num_samples <= total:
            raise ValueError(
                f'cannot skip {num_samples} samples of an epoch of {total}: has the list changed?'
            )
        self._skipped = num_samples

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch and pending skip; the loop adds what it has used itself."""
        return dict(seed=self.seed, epoch=self.epoch, skipped=self._skipped)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self.seed = state['seed']
        self.epoch = state['epoch']
        self.skip(state['skipped'])

    def _size(self) -> int:
        """Samples of an epoch."""
        return len(self.dataset)

    def _num_positions(self) -> int:
        size = self._size()
        return math.ceil(size / self.world_size) * self.world_size if self.round_up else size

    def _order(self) -> np.ndarray:
        """Sample indices of the whole epoch over all processes."""
        size = len(self.dataset)
        if self.shuffle:
            # Not torch's global generator: a model that draws (dropout) would change the order.
            order = sample_generator(self.seed, self.epoch).permutation(size)
        else:
            order = np.arange(size)
        # np.resize repeats from the start, also where there are more processes than samples.
        return np.resize(order, self._num_positions())

    def __iter__(self) -> Iterator[SampleKey]:
        # Skipped first, dealt out then: what is left of the epoch is the same for any number of
        # ranks. Each sample carries its epoch and seed, since a worker that lives on from epoch to
        # epoch has no other way to learn them.
        mine = self._order()[self._skipped :][self.rank :: self.world_size]
        self._skipped = 0
        return (SampleKey(index, self.epoch, self.seed) for index in mine.tolist())

    def __len__(self) -> int:
        """Samples of this process in a whole epoch."""
        return math.ceil((self._num_positions() - self.rank) / self.world_size)


@DATA_SAMPLERS.register_module()
class BlockSampler(EpochSampler):
    """All samples once per epoch, those of a few shards at a time, in random order.

    For disks and object stores that read neighbors far faster than strangers: the shards are
    shuffled, `window` of them are open at a time, and their clips are shuffled together. The
    order depends on (seed, epoch) alone, as that of `EpochSampler`. `order_randomness` says
    how random it is: with clips packed in the order of their classes far less than with clips
    shuffled before packing.

    Args:
        dataset: A `ShardDataset`, or any dataset, which is then cut into blocks.
        window: Shards whose clips are shuffled together.
        block: Clips of a block, of datasets without shards.
        seed: Seed of order and samples, the same in all processes; None draws
            one and shares it.
        round_up: As in `EpochSampler`.

    Raises:
        ValueError: `window` or `block` is not positive.
    """

    def __init__(
        self,
        dataset: Sized,
        window: int = 8,
        block: int = 1024,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle=True, seed=seed, round_up=round_up)
        for name, value in (('window', window), ('block', block)):
            if value < 1:
                raise ValueError(f'{name}={value} of BlockSampler must be at least 1')
        self.window, self.block = window, block

    def _bounds(self) -> np.ndarray:
        blocks = getattr(self.dataset, 'blocks', None)
        if blocks is not None:
            bounds: np.ndarray = blocks()
            return bounds
        size = len(self.dataset)
        return np.append(np.arange(0, size, self.block), size)

    def _order(self) -> np.ndarray:
        """Sample indices of the whole epoch over all processes."""
        bounds, draws = self._bounds(), sample_generator(self.seed, self.epoch)
        shards = draws.permutation(len(bounds) - 1)
        order = []
        for first in range(0, len(shards), self.window):
            near = [
                np.arange(bounds[i], bounds[i + 1]) for i in shards[first : first + self.window]
            ]
            order.append(draws.permutation(np.concatenate(near)))
        return np.resize(np.concatenate(order), self._num_positions())


def order_randomness(order: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, float]:
    """How random the batches of an order are; all of it is about 1 for a full shuffle.

    Args:
        order: Positions (N,) in the order of an epoch.
        labels: Label (N,) of each position.
        batch: Clips in a batch, over all processes.

    Returns:
        `spread`: the standard deviation of the positions in a batch over that of all positions.
        `classes`: distinct labels in a batch over those in a batch of a full shuffle.
        Both are means over all whole batches; in list order they are near 0 and 0 to 1.
    """
    count = len(order) // batch
    rows = np.asarray(order)[: count * batch].reshape(count, batch)
    spread = rows.std(axis=1).mean() / np.arange(len(order)).std()
    shuffled = np.random.default_rng(0).permutation(len(order))[: count * batch]

    def distinct(positions: np.ndarray) -> float:
        found = np.sort(np.asarray(labels)[positions.reshape(count, batch)], axis=1)
        return float((np.diff(found, axis=1) != 0).sum(axis=1).mean() + 1)

    return dict(spread=float(spread), classes=distinct(rows) / distinct(shuffled))


@DATA_SAMPLERS.register_module()
class JointSampler(EpochSampler):
    """Samples of several datasets in a fixed ratio, in one stream of batches.

    The dataset is a `ConcatDataset` of the sources. Of every sum(ratio) samples
    in a row, over all processes, ratio[i] are of source i, in random order. An
    epoch is as long as the first source, rounded up to its ratio; the others
    give as many as the ratio asks for, and go on in the next epoch where they
    were left, so that all clips of a source are used equally often. The order
    depends on (seed, epoch) only: a run resumes exactly, with any number of
    workers or processes.

    A source with a `class_power` p is drawn from with replacement, a class of n
    clips with a probability proportional to n^p: 1 draws all clips alike, 0 all
    classes. One source alone, ratio [1], is class-balanced sampling.

    Args:
        dataset: A `ConcatDataset`, or any dataset as the only source.
        ratio: Samples of each source in a group.
        class_power: For each source its p, or None to take the clips in turn.
        seed: Seed of order and samples, the same in all processes; None draws
            one and shares it.

    Raises:
        ValueError: `ratio` or `class_power` does not fit the sources.

    Source: joint training as in OmniSource, arXiv:2003.13042. There batches of the
    sources take turns; here each batch is mixed.
    """

    def __init__(
        self,
        dataset: Any,
        ratio: Sequence[int] = (1,),
        class_power: Sequence[float | None] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=True, seed=seed, round_up=True)
        self.sources = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
        powers = [None] * len(self.sources) if class_power is None else list(class_power)
        for name, given in (('ratio', ratio), ('class_power', powers)):
            if len(given) != len(self.sources):
                raise ValueError(
                    f'{name}={list(given)} of JointSampler: one number is needed for each of the '
                    f'{len(self.sources)} datasets'
                )
        if any(type(part) is not int or part < 1 for part in ratio):
            raise ValueError(f'ratio={list(ratio)} of JointSampler takes integers of at least 1')
        self.ratio = list(ratio)
        self.groups = -(-len(self.sources[0]) // self.ratio[0])
        self.weights = [
            None if power is None else class_weights(source, power)
            for source, power in zip(self.sources, powers, strict=True)
        ]

    def _size(self) -> int:
        return self.groups * sum(self.ratio)

    def _order(self) -> np.ndarray:
        """Sample indices of the whole epoch over all processes."""
        columns, first = [], 0
        for number, source in enumerate(self.sources):
            drawn = first + self._of_source(number, len(source))
            columns.append(drawn.reshape(self.groups, -1))
            first += len(source)
        draws = sample_generator(self.seed, self.epoch)
        order = draws.permuted(np.concatenate(columns, axis=1), axis=1)
        return np.resize(order, self._num_positions())

    def _of_source(self, number: int, size: int) -> np.ndarray:
        """What source `number` of `size` samples gives to this epoch."""
        count = self.groups * self.ratio[number]
        weights = self.weights[number]
        if weights is not None:
            return sample_generator(self.seed, self.epoch, number).choice(size, count, p=weights)
        # One endless row of permutations, of which each epoch takes the next stretch.
        start = self.epoch * count
        first, last = start // size, (start + count - 1) // size
        row = [
            sample_generator(self.seed, turn, number).permutation(size)
            for turn in range(first, last + 1)
        ]
        return np.concatenate(row)[start - first * size :][:count]

    def __iter__(self) -> Iterator[SampleKey]:
        order = self._order()
        mine = range(self._skipped + self.rank, len(order), self.world_size)
        self._skipped = 0
        # The place in the epoch tells a sample that comes twice from its first time.
        return (SampleKey(order[place], self.epoch, self.seed, place) for place in mine)


def class_weights(dataset: Any, power: float) -> np.ndarray:
    """Probability of each sample so that a class of n is drawn in proportion to n^power.

    A sample with several labels counts as one of the rarest of them.

    Args:
        dataset: A dataset with `get_cat_ids`.
        power: The exponent, 0 to 1.

    Returns:
        Shape (N,), which sums to 1.

    Raises:
        ValueError: The exponent is outside 0 to 1, or a sample has no label.
    """
    if not 0 <= power <= 1:
        raise ValueError(f'class_power={power} must lie in 0 to 1')
    labels = [dataset.get_cat_ids(index) for index in range(len(dataset))]
    for index, of_clip in enumerate(labels):
        if not of_clip or of_clip == [-1]:
            raise ValueError(
                f'sample {index} of {getattr(dataset, "ann_file", "the dataset")} has no label, '
                'by which class_power could draw it'
            )
    counts = Counter(label for of_clip in labels for label in set(of_clip))
    rarest = np.array([min(counts[label] for label in of_clip) for of_clip in labels], dtype=float)
    weights = rarest ** (power - 1)
    shares: np.ndarray = weights / weights.sum()
    return shares
