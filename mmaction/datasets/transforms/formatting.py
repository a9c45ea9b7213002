"""The last steps of a pipeline: shape of the model's input, and packing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mmaction.registry import TRANSFORMS
from mmaction.structures import ActionDataSample

from .base import BaseTransform
from .frames import clip_name

_INPUT_KEYS = ('imgs', 'heatmap_imgs', 'keypoint', 'audios', 'text')


def to_tensor(value: Any) -> torch.Tensor:
    """A tensor of an array, number or sequence of numbers; tensors are kept.

    Raises:
        TypeError: The value cannot be one.
    """
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, (int, float)) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    ):
        return torch.as_tensor(np.asarray(value))
    raise TypeError(f'a {type(value).__name__} cannot become a tensor')


@TRANSFORMS.register_module()
class FormatShape(BaseTransform):
    """Bring the frames into the shape the model takes, by one copy.

    Reads imgs, num_clips, clip_len (NPTCHW also num_proposals); writes imgs (one
    contiguous array) and input_shape. With M frames in all:

    - 'NCHW': (M, C, H, W); frames of optical flow are stacked along the channels
      of each clip, (M / clip_len, clip_len * C, H, W).
    - 'NCTHW': (crops * clips, C, T, H, W), crop-major.
    - 'NPTCHW': (proposals, M / proposals, C, H, W).

    Args:
        input_format: One of the three.
        collapse: Drop the first axis, which must have length 1.

    Raises:
        ValueError: The format is unknown, the number of frames is not a multiple
            of num_clips * clip_len, or `collapse` meets more than one view.
    """

    formats = ('NCHW', 'NCTHW', 'NPTCHW')

    def __init__(self, input_format: str, collapse: bool = False) -> None:
        if input_format not in self.formats:
            raise ValueError(f'input_format={input_format!r} must be one of {self.formats}')
        self.input_format = input_format
        self.collapse = collapse

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reshape the frames of `results`."""
        imgs = np.asarray(results['imgs'])
        if imgs.ndim == 3:
            imgs = imgs[..., None]
        clip_len = results['clip_len'] if 'clip_len' in results else len(imgs)
        if self.input_format == 'NCTHW':
            imgs = self._grouped(imgs, results['num_clips'], clip_len, results)
        elif self.input_format == 'NPTCHW':
            imgs = self._grouped(imgs, results['num_proposals'], None, results)
        elif results.get('modality') == 'Flow':
            imgs = self._grouped(imgs, 1, clip_len, results)
        if self.input_format == 'NCTHW':
            imgs = imgs.transpose(0, 4, 1, 2, 3)
        else:
            imgs = np.moveaxis(imgs, -1, -3)
        imgs = np.ascontiguousarray(imgs)
        if self.input_format == 'NCHW' and imgs.ndim == 5:
            imgs = imgs.reshape(imgs.shape[0], -1, *imgs.shape[3:])
        if self.collapse:
            if len(imgs) != 1:
                raise ValueError(
                    f'collapse=True needs one view, but {clip_name(results)} has {len(imgs)}'
                )
            imgs = imgs[0]
        results['imgs'] = imgs
        results['input_shape'] = imgs.shape
        return results

    @staticmethod
    def _grouped(
        imgs: np.ndarray, groups: int, length: int | None, results: dict[str, Any]
    ) -> np.ndarray:
        """(M, H, W, C) -> (views, length, H, W, C); `groups` must divide the views."""
        unit = groups * (length or 1)
        if unit < 1 or len(imgs) % unit:
            raise ValueError(
                f'{clip_name(results)} has {len(imgs)} frames, which is not a multiple of '
                f'{groups} x {length or 1} (clips x frames per clip, or proposals)'
            )
        return imgs.reshape(-1, length or len(imgs) // groups, *imgs.shape[1:])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input_format='{self.input_format}')"


@TRANSFORMS.register_module()
class Transpose(BaseTransform):
    """Permute the axes of some arrays of `results`.

    Args:
        keys: Which of them.
        order: The order of their axes, as for `numpy.transpose`.
    """

    shown = ('keys', 'order')

    def __init__(self, keys: Sequence[str], order: Sequence[int]) -> None:
        self.keys = keys
        self.order = order

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Permute the axes."""
        for key in self.keys:
            results[key] = np.asarray(results[key]).transpose(self.order)
        return results


@TRANSFORMS.register_module()
class PackActionInputs(BaseTransform):
    """Pack a clip as the data preprocessor takes it.

    Args:
        collect_keys: Keys to pack as a dict of tensors. By default one tensor:
            the first found of imgs, heatmap_imgs, keypoint, audios and text.
        meta_keys: Keys kept as meta data of the sample, where they exist.
        algorithm_keys: Keys kept as data of the sample, where they exist.

    Raises:
        ValueError: There is nothing to pack.
    """

    shown = ('collect_keys', 'meta_keys')

    def __init__(
        self,
        collect_keys: Sequence[str] | None = None,
        meta_keys: Sequence[str] = (
            'img_shape',
            'img_key',
            'video_id',
            'timestamp',
            'filename',
            'sample_idx',
        ),
        algorithm_keys: Sequence[str] = (),
    ) -> None:
        self.collect_keys = collect_keys
        self.meta_keys = meta_keys
        self.algorithm_keys = algorithm_keys

    def transform(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Pack `results`.

        Returns:
            dict(inputs=tensor or dict of tensors, in the type they came in (uint8
            for frames), data_samples=ActionDataSample with gt_label and meta data).
        """
        sample = ActionDataSample()
        if 'label' in results:
            sample.set_gt_label(results['label'])
        for key in self.algorithm_keys:
            if key in results:
                sample.set_field(results[key], key)
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return dict(inputs=self._inputs(results), data_samples=sample)

    def _inputs(self, results: Mapping[str, Any]) -> torch.Tensor | dict[str, torch.Tensor]:
        wanted = self.collect_keys
        if wanted is None:
            wanted = [key for key in _INPUT_KEYS if key in results][:1]
        missing = [key for key in wanted if key not in results]
        if missing or not wanted:
            raise ValueError(
                f'PackActionInputs finds none of {missing or list(_INPUT_KEYS)} in the results, '
                f'which hold {sorted(results)}'
            )
        if self.collect_keys is None:
            return to_tensor(results[wanted[0]])
        return {key: to_tensor(results[key]) for key in wanted}
