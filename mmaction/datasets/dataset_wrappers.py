"""Training on several datasets at once, and on classes of unlike size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset as _ClassBalancedDataset
from mmengine.dataset import ConcatDataset

from mmaction.registry import DATA_SAMPLERS, DATASETS

from .samplers import EpochSampler, SampleKey
from .seeding import sample_generator

__all__ = ['ClassBalancedDataset', 'JointSampler']


@DATASETS.register_module()
class ClassBalancedDataset(_ClassBalancedDataset):
    """mmengine's wrapper, which repeats clips of rare classes, with a seed for each sample.

    A class with a share f < `oversample_thr` of the clips is repeated sqrt(oversample_thr / f)
    times, rounded up. The draws of each repetition are its own and depend on
    seed, epoch and position alone.

    Args:
        dataset: The dataset or its config.
        oversample_thr: Share of the clips below which a class is repeated.
        lazy_init: Do not read the list yet.

    Source: Gupta et al., LVIS, arXiv:1908.03195.
    """

    def __getitem__(self, idx: int) -> Any:
        """The sample of an index or a `SampleKey`."""
        if not self._fully_initialized:
            self.full_init()
        origin = self.repeat_indices[idx]
        return self.dataset[idx.moved(origin) if isinstance(idx, SampleKey) else origin]


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
    return weights / weights.sum()
