"""What a user hands over for inference, as the first entry of a pipeline."""

from __future__ import annotations

from typing import Any

from mmaction.datasets.video_source import FORMATS, clip_info
from mmaction.registry import TRANSFORMS

from .base import BaseTransform

__all__ = ['InferencerPackInput']


@TRANSFORMS.register_module()
class InferencerPackInput(BaseTransform):
    """Turn a path, folder or array into the dict that the transforms after it read.

    Writes filename, or frame_dir and filename_tmpl, or array; and start_index, label (-1),
    modality and, of folders and arrays, total_frames.

    Args:
        input_format: 'video', 'rawframes', 'array', or 'dict', which is passed on.
        filename_tmpl: Name of a frame of a folder.
        modality: 'RGB'.
        start_index: Number of the first frame of a folder.

    Raises:
        ValueError: `input_format` is none of these.

    Source: the transform of this name in mmaction2 1.x.
    """

    shown = ('input_format', 'filename_tmpl', 'modality', 'start_index')

    def __init__(
        self,
        input_format: str = 'video',
        filename_tmpl: str = 'img_{:05}.jpg',
        modality: str = 'RGB',
        start_index: int = 1,
    ) -> None:
        if input_format not in (*FORMATS, 'dict'):
            raise ValueError(
                f'InferencerPackInput: input_format={input_format!r} must be one of '
                f'{(*FORMATS, "dict")}'
            )
        self.input_format, self.filename_tmpl = input_format, filename_tmpl
        self.modality, self.start_index = modality, start_index

    def transform(self, results: Any) -> dict[str, Any]:
        """Pack one input.

        Raises:
            FileNotFoundError: There is no such file or folder.
            TypeError: The input is of none of these types.
            ValueError: It is not of `input_format`.
        """
        _, info = clip_info(results, None if self.input_format == 'dict' else self.input_format)
        if self.input_format == 'dict':
            return info
        info['modality'] = self.modality
        if self.input_format == 'rawframes':
            info.update(filename_tmpl=self.filename_tmpl, start_index=self.start_index)
        return info
