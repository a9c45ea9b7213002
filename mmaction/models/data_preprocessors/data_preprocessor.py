"""From bytes to normalized clips, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmaction.registry import MODELS
from mmaction.utils import ConfigType, SampleList
from mmaction.utils.plurals import how_many

__all__ = ['ActionDataPreprocessor']

_CHANNEL_AXIS = {'NCHW': -3, 'NCTHW': -4}


@MODELS.register_module()
class ActionDataPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, stack, normalize, blend.

    Frames travel as uint8 and become float only here.

    Args:
        mean: Mean per channel, in 0-255 units.
        std: Standard deviation per channel, in 0-255 units.
        to_rgb: Reverse the channels. Frames are RGB already, so this stays False.
        to_float32: Cast to float32 where nothing is normalized.
        blending: Config of `MixupBlending`, `CutmixBlending` or `RandomBatchAugment`,
            for training.
        format_shape: 'NCHW' for frames, 'NCTHW' for clips, or 'MIX2d3d' for either.

    Attributes:
        mean: (C, 1, 1) for NCHW, else (C, 1, 1, 1), so that it broadcasts over a batch.
        std: The same.

    Raises:
        ValueError: `mean` without `std`, or a `format_shape` that has no channel axis.
    """

    # Buffers; there are none without mean and std.
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        to_float32: bool = True,
        blending: ConfigType | None = None,
        format_shape: str = 'NCHW',
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError(f'mean={mean} and std={std}: give both or neither')
        self.to_rgb = to_rgb
        self.to_float32 = to_float32
        self.format_shape = format_shape
        self.blending = None if blending is None else MODELS.build(blending)
        self.normalizes = mean is not None and std is not None
        if mean is not None and std is not None:
            if format_shape not in (*_CHANNEL_AXIS, 'MIX2d3d'):
                raise ValueError(
                    f'format_shape={format_shape!r} is none of {(*_CHANNEL_AXIS, "MIX2d3d")}, '
                    'so mean and std have no channel axis'
                )
            shape = (-1, 1, 1) if format_shape == 'NCHW' else (-1, 1, 1, 1)
            for name, values in (('mean', mean), ('std', std)):
                buffer = torch.tensor(values, dtype=torch.float32).view(shape)
                self.register_buffer(name, buffer, False)

    def forward(self, data: Any, training: bool = False) -> Any:
        """Preprocess one batch.

        Args:
            data: dict(inputs=list of N uint8 tensors (views, C, ...), data_samples=list
                of N samples), or a tuple or list of such dicts.
            training: Whether to blend.

        Returns:
            The same, with inputs as one tensor (N, views, C, ...).
        """
        data = self.cast_data(data)
        if isinstance(data, Mapping):
            return self._one_batch(data, training)
        return type(data)(self._one_batch(part, training) for part in data)

    def _one_batch(self, data: Mapping[str, Any], training: bool) -> dict[str, Any]:
        inputs, samples = data['inputs'], data.get('data_samples')
        batch = inputs if isinstance(inputs, Tensor) else _stack(inputs, samples)
        if self.to_rgb:
            batch = batch.flip(self._channel_axis(batch.ndim))
        if self.normalizes:
            axis = self._channel_axis(batch.ndim)
            self._check_channels(batch.shape[axis])
            shape = (-1,) + (1,) * (-axis - 1)
            batch = (batch - self.mean.view(shape)).div_(self.std.view(shape))
        elif self.to_float32:
            batch = batch.float()
        if training and self.blending is not None:
            batch, samples = self.blending(batch, samples)
        return {**data, 'inputs': batch, 'data_samples': samples}

    def _check_channels(self, channels: int) -> None:
        for name, values in (('mean', self.mean), ('std', self.std)):
            if values.numel() not in (1, channels):
                raise ValueError(
                    f'model.data_preprocessor.{name} has {how_many(values.numel(), "value")}, but '
                    f'the clips have {how_many(channels, "channel")}: give one value for each'
                )

    def _channel_axis(self, ndim: int) -> int:
        """The channel axis of a batch, counted from the end."""
        if self.format_shape == 'MIX2d3d':
            return -3 if ndim == 4 else -4
        if self.format_shape not in _CHANNEL_AXIS:
            raise ValueError(
                f'to_rgb: format_shape={self.format_shape!r} has no channel axis; '
                f'it must be one of {(*_CHANNEL_AXIS, "MIX2d3d")}'
            )
        return _CHANNEL_AXIS[self.format_shape]


def _stack(inputs: Sequence[Tensor], samples: SampleList | None) -> Tensor:
    """Stack clips; where their shapes differ, name two that do."""
    odd = next((i for i, clip in enumerate(inputs) if clip.shape != inputs[0].shape), None)
    if odd is not None:
        names = ['', '']
        if samples is not None:
            names = [f' ({samples[i].get("filename", "no file name")})' for i in (0, odd)]
        raise ValueError(
            f'clips of one batch differ in shape: {tuple(inputs[0].shape)}{names[0]} and '
            f'{tuple(inputs[odd].shape)}{names[1]}; crop them to one size in the pipeline, '
            'or use batch_size=1'
        )
    return torch.stack(tuple(inputs))
