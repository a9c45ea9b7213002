"""Clips that are folders of image files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmaction.registry import DATASETS

from .annotations import ListFormat
from .base import BaseActionDataset

__all__ = ['RawframeDataset']


@DATASETS.register_module()
class RawframeDataset(BaseActionDataset):
    """Folders of frames and their labels.

    A line of the list is `folder total_frames label`, with `with_offset`
    `folder offset total_frames label`; with `multi_class` any number of labels
    follows. Without any label in the list all get -1. Lists may also be `.json`
    or `.csv`, see `mmaction.datasets.annotations.read_list`. Items hold
    `frame_dir`, `total_frames`, `label`, `filename_tmpl` and maybe `offset`.

    Args:
        ann_file: Annotation list.
        pipeline: Transforms.
        data_prefix: Folder of the folders, `dict(img=...)`.
        filename_tmpl: Name of frame i, a format string; for optical flow with
            two places, of 'x' or 'y' and of i: '{}_{:05d}.jpg'.
        with_offset: Lines hold the number of frames to leave out at the start.
        start_index: Number of the first frame in the file names.
        kwargs: Further arguments of `BaseActionDataset`.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        data_prefix: dict[str, str | None] | None = None,
        filename_tmpl: str = 'img_{:05}.jpg',
        with_offset: bool = False,
        start_index: int = 1,
        **kwargs: Any,
    ) -> None:
        self.filename_tmpl = filename_tmpl
        self.with_offset = with_offset
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=dict(img='') if data_prefix is None else data_prefix,
            start_index=start_index,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the annotation list."""
        counts = {'offset': 0, 'total_frames': 1} if self.with_offset else {'total_frames': 1}
        form = ListFormat(
            path_key='frame_dir',
            counts=counts,
            multi_class=self.multi_class,
            num_classes=self.num_classes,
        )
        return self._read_list(form, prefix_key='img')

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotation of a clip, with the template of its file names."""
        info = super().get_data_info(idx)
        info['filename_tmpl'] = self.filename_tmpl
        return info
