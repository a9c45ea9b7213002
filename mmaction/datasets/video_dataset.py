"""Clips that are video files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmaction.registry import DATASETS

from .annotations import ListFormat
from .base import BaseActionDataset

__all__ = ['VideoDataset']


@DATASETS.register_module()
class VideoDataset(BaseActionDataset):
    """Video files and their labels.

    A line of the list is `path label`, with `multi_class` `path label1 label2
    ...`; a list without any label (for inference) gives label -1. Lists may
    also be `.json` or `.csv`, see `mmaction.datasets.annotations.read_list`.
    Items hold `filename` and `label`.

    Args:
        ann_file: Annotation list.
        pipeline: Transforms.
        data_prefix: Folder of the videos, `dict(video=...)`.
        delimiter: What parts path and label; the label follows the last one.
        start_index: Index of the first frame.
        kwargs: Further arguments of `BaseActionDataset`.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        data_prefix: dict[str, str | None] | None = None,
        start_index: int = 0,
        delimiter: str = ' ',
        **kwargs: Any,
    ) -> None:
        self.delimiter = delimiter
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=dict(video='') if data_prefix is None else data_prefix,
            start_index=start_index,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation list."""
        form = ListFormat(
            path_key='filename',
            delimiter=self.delimiter,
            multi_class=self.multi_class,
            num_classes=self.num_classes,
        )
        return self._read_list(form, prefix_key='video')
