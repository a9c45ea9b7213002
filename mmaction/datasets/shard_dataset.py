"""Clips that are packed in tar files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from mmaction.registry import DATASETS

from .base import BaseActionDataset
from .shard_index import ShardIndex, find_index

__all__ = ['ShardDataset']


@DATASETS.register_module()
class ShardDataset(BaseActionDataset):
    """Video files in tar files ("mmaction pack", WebDataset), read one by one by their place.

    Any clip can be read at any time, so samplers, exact resuming and any number of ranks work
    as with files, and a packed list gives the very batches that the list itself gives. Items
    hold `filename` (the path in the list, for messages), `label`, and `shard`, `shard_offset`
    and `shard_size`, from where the `...Init` transforms take the content.

    Args:
        ann_file: The folder of the shards or their index, or WebDataset's own shards: a folder,
            a `.tar`, or 'clips-{000000..000012}.tar', of which an index is built once.
        pipeline: Transforms.
        label_key: Where the label stands in a `.json` of WebDataset's shards.
        kwargs: Further arguments of `BaseActionDataset`, `indices` among them.
    """

    list_form = ''

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        label_key: str = 'label',
        **kwargs: Any,
    ) -> None:
        self.label_key = label_key
        self._index: ShardIndex | None = None
        self._chosen: np.ndarray | None = None
        super().__init__(ann_file, pipeline, **kwargs)

    def full_init(self) -> None:
        """Open the index, of which nothing is copied.

        Raises:
            FileNotFoundError: There are no such shards.
            ValueError: They are damaged, or a label is outside the classes.
        """
        if self._fully_initialized:
            return
        self._index = find_index(self.ann_file, self.label_key)
        self._check_labels(self._index)
        if self._indices is not None:
            everything = np.arange(len(self._index))
            wanted = self._indices
            if isinstance(wanted, int):
                self._chosen = everything[:wanted] if wanted >= 0 else everything[wanted:]
            else:
                self._chosen = everything[np.asarray(wanted)]
        self._fully_initialized = True

    def _check_labels(self, index: ShardIndex) -> None:
        highest = int(index.all_labels.max(initial=-1))
        classes = self._metainfo.get('classes')
        for count, what in (
            (self.num_classes, 'num_classes'),
            (None if classes is None else len(classes), 'the number of class names'),
        ):
            if count is not None and highest >= count:
                raise ValueError(f'{self.ann_file}: label {highest} is outside {what}={count}')
        several = np.flatnonzero(index.label_counts > 1)
        if len(several) and not self.multi_class:
            raise ValueError(
                f'{self.ann_file}: {index[int(several[0])].name} has several labels; set '
                '`multi_class=True`'
            )

    @property
    def index(self) -> ShardIndex:
        """Where each clip lies."""
        if self._index is None:
            self.full_init()
        assert self._index is not None
        return self._index

    def blocks(self) -> np.ndarray:
        """Positions (B + 1,) between which neighbors lie in one shard; see `BlockSampler`."""
        if self._chosen is not None:
            raise ValueError('BlockSampler reads whole shards: leave `indices` out')
        return self.index.blocks()

    def label_facts(self) -> tuple[int, list[int]]:
        """How many clips have no label, and the distinct labels, without a walk over the clips."""
        labels, counts = self.index.all_labels, self.index.label_counts
        if self._chosen is not None:
            each = [self.get_cat_ids(i) for i in range(len(self))]
            found = {label for of_clip in each for label in of_clip}
            return sum(not of_clip or of_clip == [-1] for of_clip in each), sorted(found - {-1})
        distinct = np.unique(labels).tolist()
        unlabeled = int((labels == -1).sum()) + int((counts == 0).sum()) * (not self.multi_class)
        return unlabeled, [label for label in distinct if label >= 0]

    def __len__(self) -> int:
        return len(self.index) if self._chosen is None else len(self._chosen)

    def _position(self, idx: int) -> int:
        return int(idx) if self._chosen is None else int(self._chosen[int(idx)])

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The entry of a clip, with what the transforms read besides."""
        entry = self.index[self._position(idx)]
        labels = [label for label in entry.labels if label != -1]
        label = labels if self.multi_class else next(iter(labels), -1)
        info = dict(
            filename=entry.name,
            label=label,
            shard=self.index.shards[entry.shard],
            shard_offset=entry.offset,
            shard_size=entry.size,
            sample_idx=int(idx),
        )
        return self._with_facts(info)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The labels of a clip, which class balancing asks for."""
        labels = self.index.labels(self._position(idx))
        return [label for label in labels if label != -1] if self.multi_class else labels

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if not self.ann_file.endswith(('.npz', '.tar', '/')):
            # `classes.txt` is looked for beside the list: here that is within the folder.
            self.ann_file = os.path.join(self.ann_file, '')
