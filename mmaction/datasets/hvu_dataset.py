"""HVU: clips with labels of several categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmaction.registry import DATASETS

from .annotations import ListFormat
from .base import BaseActionDataset

__all__ = ['CATEGORIES', 'CATEGORY_NUMS', 'HVUDataset', 'labels_of_categories']

# The order in mmaction2's configs, in which the classes of all of them are counted.
CATEGORIES = ('action', 'attribute', 'concept', 'event', 'object', 'scene')
CATEGORY_NUMS = (739, 117, 291, 69, 1678, 248)
"""Labels of each category."""


def labels_of_categories(names: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    """The number of labels of each category by its name.

    Raises:
        ValueError: There are not as many numbers as names.
    """
    if len(names) != len(counts):
        raise ValueError(
            f'{len(names)} tag_categories, but {len(counts)} tag_category_nums: give the number '
            'of labels of each category'
        )
    return dict(zip(names, counts, strict=True))


@DATASETS.register_module()
class HVUDataset(BaseActionDataset):
    """Clips whose labels belong to categories, not all of which are labeled.

    The list is a JSON array of `{"filename": "clip.mp4", "label": {"action":
    [17], "scene": [3, 90]}}`; labels count from 0 within their category. Items
    hold `label`, a float vector of zeros and ones over the labels of all
    categories in their order, and `category_mask`, a float vector with a 1 for
    each category that is labeled: add it to `algorithm_keys` of
    `PackActionInputs`, where `HVULoss` and `HVUMetric` look for it.

    Args:
        ann_file: Annotation list.
        pipeline: Transforms.
        tag_categories: Names of the categories.
        tag_category_nums: Number of labels of each.
        data_prefix: Folder of the videos, `dict(video=...)`, or of the folders
            of frames, `dict(img=...)`.
        filename_tmpl: Clips are folders of frames with such names; entries of the
            list then hold `frame_dir` and `total_frames`. None: video files.
        start_index: Index of the first frame; by default 0 for videos, 1 for frames.
        kwargs: Further arguments of `BaseActionDataset`.

    Raises:
        ValueError: There are not as many numbers as categories.

    Source: the dataset of this name in mmaction2 0.x, arXiv:1904.11451.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        tag_categories: Sequence[str] = CATEGORIES,
        tag_category_nums: Sequence[int] = CATEGORY_NUMS,
        data_prefix: dict[str, str | None] | None = None,
        filename_tmpl: str | None = None,
        start_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.categories = labels_of_categories(tag_categories, tag_category_nums)
        self.filename_tmpl = filename_tmpl
        kwargs.update(multi_class=True, num_classes=sum(tag_category_nums))
        self._prefix_key = 'video' if filename_tmpl is None else 'img'
        if start_index is None:
            start_index = 0 if filename_tmpl is None else 1
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix={self._prefix_key: ''} if data_prefix is None else data_prefix,
            start_index=start_index,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation list."""
        frames = self.filename_tmpl is not None
        form = ListFormat(
            path_key='frame_dir' if frames else 'filename',
            counts={'total_frames': 1} if frames else {},
            multi_class=True,
            num_classes=self.num_classes,
            categories=self.categories,
        )
        return self._read_list(form, prefix_key=self._prefix_key)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotation of a clip."""
        info = super().get_data_info(idx)
        labeled = info.pop('categories')
        info['category_mask'] = torch.tensor([float(name in labeled) for name in self.categories])
        if self.filename_tmpl is not None:
            info['filename_tmpl'] = self.filename_tmpl
        return info
