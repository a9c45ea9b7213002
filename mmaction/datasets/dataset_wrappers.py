"""Training on classes of unlike size."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import ClassBalancedDataset as _ClassBalancedDataset

from mmaction.registry import DATASETS

from .samplers import SampleKey

__all__ = ['ClassBalancedDataset']


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
