"""Clips as a model of transformers takes them: filled into a config, or held against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.utils.hub import model_folder
from mmaction.utils.transformers_folder import ClipSpec, clip_spec

__all__ = ['apply_model_clips']

_SAMPLERS = ('SampleFrames', 'DenseSampleFrames', 'UniformSample', 'UntrimmedSampleFrames')
_CROPS = {
    'CenterCrop': 'crop_size',
    'ThreeCrop': 'crop_size',
    'TenCrop': 'crop_size',
    'RandomCrop': 'size',
    'MultiScaleCrop': 'input_size',
}
"""Crops, and the argument that is their size."""


def apply_model_clips(cfg: Config) -> None:
    """Take clip length, frame size and normalization from the model's own config and processor.

    Of a config whose backbone is `transformers.NAME`, what is left out is filled in:
    `mean`, `std` and `format_shape` of `model.data_preprocessor`, `in_channels` of
    `model.cls_head`, `clip_len` where frames are sampled, `scale` of `Resize` and the size of
    crops in every pipeline. `num_frames` and `img_size` of the backbone count before the
    model's own.

    Raises:
        ConfigError: The config says otherwise than the model, or the folder is not there.
    """
    model: Any = cfg.get('model')
    backbone: Any = model.get('backbone') if isinstance(model, dict) else None
    kind = backbone.get('type') if isinstance(backbone, dict) else None
    if not isinstance(kind, str) or not kind.startswith('transformers.'):
        return
    name = kind.removeprefix('transformers.')
    if '/' not in name and not Path(name).is_dir():  # a model type, without a processor
        return
    folder = model_folder(name, weights=False)
    spec = clip_spec(folder)
    frames, size = backbone.get('num_frames'), backbone.get('img_size')
    checked = _Clips(folder, spec, frames or spec.frames, size or spec.size)
    checked.fill_model(cfg.model)
    checked.walk(cfg._cfg_dict, ())


class _Clips:
    """What one model takes, held against the parts of a config."""

    def __init__(self, folder: Path, spec: ClipSpec, frames: int | None, size: int | None) -> None:
        self.folder, self.spec, self.frames, self.size = folder, spec, frames, size

    def fill_model(self, model: dict[str, Any]) -> None:
        """Set what the preprocessor and the head leave out."""
        head = model.get('cls_head')
        if isinstance(head, dict) and self.spec.channels is not None:
            head.setdefault('in_channels', self.spec.channels)
        if self.spec.mean is None:
            return
        # a Config keeps a copy of what it is given, so it is asked for again
        model.setdefault('data_preprocessor', dict(type='ActionDataPreprocessor'))
        preprocessor = model['data_preprocessor']
        if 'format_shape' not in preprocessor:
            flat = model.get('type') == 'Recognizer2D'
            preprocessor['format_shape'] = 'NCHW' if flat else 'NCTHW'
        for key, own in (('mean', self.spec.mean), ('std', self.spec.std)):
            given = preprocessor.setdefault(key, list(own or ()))
            if len(given) != len(own or ()) or not np.allclose(given, own or (), atol=0.02):
                raise self._differs(f'model.data_preprocessor.{key}', given, list(own or ()))

    def walk(self, node: object, way: tuple[str, ...]) -> None:
        """Go through all pipelines below a value."""
        if isinstance(node, dict):
            for key, value in node.items():
                if key.endswith('pipeline') and isinstance(value, list):
                    self._pipeline(value, (*way, key))
                elif key != 'model':
                    self.walk(value, (*way, key))
        elif isinstance(node, (list, tuple)):
            for index, item in enumerate(node):
                self.walk(item, (*way, str(index)))

    def _pipeline(self, steps: list[Any], way: tuple[str, ...]) -> None:
        last: tuple[str, Any] | None = None  # where the frames get their size, and which
        free = False  # whether a random part of the frame is to be resized
        for index, step in enumerate(steps):
            kind = step.get('type') if isinstance(step, dict) else None
            place = '.'.join((*way, str(index)))
            if kind in _SAMPLERS:
                self._fill_length(step, place)
            elif kind in _CROPS and self.size is not None:
                last = f'{place}.{_CROPS[kind]}', step.setdefault(_CROPS[kind], self.size)
            elif kind == 'Resize' and self.size is not None:
                fixed = free or step.get('keep_ratio') is False
                self._fill_scale(step, self.size, fixed=fixed)
                last = (f'{place}.scale', step['scale']) if fixed else last
            free = kind == 'RandomResizedCrop' or (free and kind != 'Resize')
        if last is not None:
            self._check_size(*last)

    def _check_size(self, place: str, given: object) -> None:
        sides = given if isinstance(given, (list, tuple)) else (given,)
        if set(sides) != {self.size}:
            raise self._differs(place, given, self.size, 'img_size')

    def _fill_length(self, step: dict[str, Any], place: str) -> None:
        given = step.get('clip_len')
        if given is None and self.frames is not None:
            step['clip_len'] = self.frames
        elif self.frames is not None and given != self.frames:
            raise self._differs(f'{place}.clip_len', given, self.frames, 'num_frames')

    def _fill_scale(self, step: dict[str, Any], size: int, *, fixed: bool) -> None:
        if 'scale' not in step:
            step['scale'] = (size, size) if fixed else (-1, self.spec.short_side or size)
            step['keep_ratio'] = not fixed

    def _differs(self, place: str, given: object, own: object, argument: str = '') -> ConfigError:
        other = f', or set model.backbone.{argument}={given}' if argument else ''
        return ConfigError(
            f'config key {place}: {given}, but the model in {self.folder} takes {own}: leave the '
            f'key out{other}'
        )
