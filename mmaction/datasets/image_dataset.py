"""Clips that are images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmaction.registry import DATASETS

from .annotations import ListFormat
from .base import BaseActionDataset

__all__ = ['ImageDataset']


@DATASETS.register_module()
class ImageDataset(BaseActionDataset):
    """Image files and their labels, for training beside videos.

    A line of the list is `path label`. Items hold `filename` and `label`; the
    pipeline reads them with `ImageDecode`, and `BuildPseudoClip` makes a clip
    that stands still.

    Args:
        ann_file: Annotation list.
        pipeline: Transforms.
        data_prefix: Folder of the images, `dict(img=...)`.
        kwargs: Further arguments of `BaseActionDataset`.

    Source: the dataset of this name in mmaction2 0.x.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        data_prefix: dict[str, str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=dict(img='') if data_prefix is None else data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation list."""
        form = ListFormat(
            path_key='filename', multi_class=self.multi_class, num_classes=self.num_classes
        )
        return self._read_list(form, prefix_key='img')
