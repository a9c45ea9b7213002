"""The test pipeline of a config, made to fit what a user hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ['pipeline_steps', 'steps_for']

_VIDEO_DECODERS = tuple(
    f'{name}Decode' for name in ('Decord', 'PyAV', 'PIMS', 'OpenCV', 'TorchCodec')
)
_DECODERS = (*_VIDEO_DECODERS, 'RawFrameDecode', 'ArrayDecode')
_MULTI_CROPS = ('ThreeCrop', 'TenCrop')


def pipeline_steps(cfg: Any) -> list[dict[str, Any]]:
    """The steps of a config's test pipeline.

    Raises:
        ValueError: The config has none.
    """
    steps = cfg.get('test_pipeline')
    if steps is None:
        loader = cfg.get('test_dataloader') or {}
        steps = (loader.get('dataset') or {}).get('pipeline')
    if not steps:
        raise ValueError(
            f'config {cfg.filename or ""} has neither test_pipeline nor '
            'test_dataloader.dataset.pipeline'
        )
    return [dict(step) for step in steps]


def steps_for(
    steps: Sequence[Mapping[str, Any]], kind: str, one_view: bool = False
) -> list[dict[str, Any]]:
    """A pipeline whose reading steps fit the kind of input.

    Args:
        steps: Configs of transforms.
        kind: 'video', 'rawframes' or 'array'.
        one_view: Take one clip (the middle one) and one crop (the center) in the
            place of several.

    Raises:
        ValueError: The pipeline has no step that decodes.
    """
    names = [step['type'] for step in steps]
    at = next((i for i, name in enumerate(names) if name in _DECODERS), None)
    if at is None:
        raise ValueError(f'the pipeline has no decoding step; its steps are {", ".join(names)}')
    result = [dict(step) for step in steps]
    if kind != 'video':
        decoder = {'rawframes': 'RawFrameDecode', 'array': 'ArrayDecode'}[kind]
        if names[at] != decoder:
            result[at] = dict(type=decoder)
        result = [step for step in result if not step['type'].endswith('Init')]
    elif names[at] not in _VIDEO_DECODERS:
        result[at] = dict(type='DecordDecode')
        result.insert(0, dict(type='DecordInit'))
    if one_view:
        for i, step in enumerate(result):
            if step['type'] in _MULTI_CROPS:
                result[i] = dict(type='CenterCrop', crop_size=step['crop_size'])
            # Clips of one frame are the segments that a 2-D model brings together, not views.
            elif step.get('num_clips', 1) > 1 and step.get('clip_len') != 1:
                step.update(num_clips=1)
            step.pop('twice_sample', None)
    return result
