"""What an exported file says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mmaction.apis.test_pipeline import pipeline_steps
from mmaction.models.recognizers import Recognizer2D
from mmaction.version import __version__

__all__ = ['describe_model']


def describe_model(recognizer: Any, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The metadata: all that a program has to know to feed the model and read its answer."""
    cfg, head = recognizer.cfg, recognizer.cls_head
    preprocessor = recognizer.data_preprocessor
    steps = pipeline_steps(cfg)
    sampling: dict[str, Any] = next((step for step in steps if 'clip_len' in step), {})
    spread = sampling.get('type') == 'UniformSample'
    if head.average_clips == 'prob':
        output = 'probabilities (sigmoid)' if head.multi_class else 'probabilities (softmax)'
    else:
        output = 'logits'
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    return dict(
        classes=recognizer.dataset_meta.get('classes'),
        input_shape=list(shape),
        input_order=(
            'batch, time, channel (RGB), height, width'
            if isinstance(recognizer, Recognizer2D)
            else 'batch, channel (RGB), time, height, width'
        ),
        input_range=[0, 255],
        clip_len=sampling.get('clip_len', shape[0]),
        # None: the frames of a clip are spread over the video, however long it is.
        frame_interval=None if spread else sampling.get('frame_interval', 1),
        num_clips=sampling.get('num_clips', 1),
        resize=_resize_of(steps),
        crop=_crop_of(steps),
        normalization=dict(
            inside=True,
            mean=None if mean is None else mean.flatten().tolist(),
            std=None if std is None else std.flatten().tolist(),
            to_rgb=bool(getattr(preprocessor, 'to_rgb', False)),
        ),
        output=output,
        average_clips=head.average_clips,
        multi_label=bool(head.multi_class),
        pipeline=[{key: _plain(value) for key, value in step.items()} for step in steps],
        config=Path(cfg.filename).name if cfg.filename else None,
        precision='fp32',
        version=f'mmaction {__version__}, torch {torch.__version__}',
    )


def _resize_of(steps: list[dict[str, Any]]) -> Any:
    """The first `Resize`: [width, height], or {'short_side': s}, or its factor; None without."""
    step = next((step for step in steps if step['type'] == 'Resize'), None)
    if step is None:
        return None
    scale = step.get('scale')
    if isinstance(scale, (list, tuple)) and -1 in scale:
        return dict(short_side=max(scale))
    keeps = step.get('keep_ratio', True)
    return dict(largest=list(scale)) if keeps and isinstance(scale, (list, tuple)) else scale


def _crop_of(steps: list[dict[str, Any]]) -> Any:
    crop = next((step for step in steps if step['type'].endswith('Crop')), None)
    return None if crop is None else dict(type=crop['type'], size=_plain(crop.get('crop_size')))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
