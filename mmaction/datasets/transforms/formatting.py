"""The last steps of a pipeline: shape of the model's input, and packing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from mmaction.datasets.decoders.deferred import DeferredFrames
from mmaction.registry import TRANSFORMS
from mmaction.structures import ActionDataSample

from .base import BaseTransform
from .functional import clip_name, split_channels

__all__ = ['FormatShape', 'PackActionInputs', 'Transpose', 'to_tensor']

_INPUT_KEYS = ('imgs', 'heatmap_imgs', 'keypoint', 'audios', 'text')


def to_tensor(value: object) -> torch.Tensor:
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
        ValueError: The format is unknown, the frames differ in shape, their number is
            not a multiple of num_clips * clip_len, or `collapse` meets several views.
    """

    formats = ('NCHW', 'NCTHW', 'NPTCHW')
    takes_deferred = True
    keeps_deferred = False

    def __init__(self, input_format: str, collapse: bool = False) -> None:
        if input_format not in self.formats:
            raise ValueError(f'input_format={input_format!r} must be one of {self.formats}')
        self.input_format = input_format
        self.collapse = collapse

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reshape the frames of `results`."""
        imgs = results['imgs']
        is_deferred = isinstance(imgs, DeferredFrames)
        shapes = {imgs.shape[1:]} if is_deferred else {img.shape for img in imgs}
        if len(shapes) != 1:
            raise ValueError(f'frames of {clip_name(results)} differ in shape: {sorted(shapes)}')
        dtype = np.uint8 if is_deferred else imgs[0].dtype
        height, width, *rest = shapes.pop()
        channels = rest[0] if rest else 1
        if self.input_format == 'NCTHW':
            length = results['clip_len']
            views = self._count(results, results['num_clips'] * length) * results['num_clips']
            out = np.empty((views, channels, length, height, width), dtype)
            frames = iter(imgs)
            for planes in out:
                split_channels(islice(frames, length), planes.swapaxes(0, 1))
        else:
            out = np.empty((len(imgs), channels, height, width), dtype)
            split_channels(imgs, out)
            if self.input_format == 'NPTCHW':
                self._count(results, results['num_proposals'])
                out = out.reshape(results['num_proposals'], -1, channels, height, width)
            elif results.get('modality') == 'Flow':
                clips = self._count(results, results['clip_len'])
                out = out.reshape(clips, -1, height, width)
        if self.collapse:
            if len(out) != 1:
                raise ValueError(
                    f'collapse=True needs one view, but {clip_name(results)} has {len(out)}'
                )
            out = out[0]
        results['imgs'] = out
        results['input_shape'] = out.shape
        return results

    def _count(self, results: dict[str, Any], unit: int) -> int:
        """How many times `unit` frames there are."""
        count, rest = divmod(len(results['imgs']), unit)
        if rest:
            raise ValueError(
                f'{clip_name(results)} has {len(results["imgs"])} frames, not a multiple of the '
                f'{unit} that {self.input_format} groups together'
            )
        return count

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
            wanted = [key for key in _INPUT_KEYS if key in results]
        missing = [key for key in wanted if key not in results]
        if missing or not wanted:
            raise ValueError(
                f'PackActionInputs finds none of {missing or list(_INPUT_KEYS)} in the results, '
                f'which hold {sorted(results)}'
            )
        if self.collect_keys is None:
            return to_tensor(results[wanted[0]])
        return {key: to_tensor(results[key]) for key in wanted}
