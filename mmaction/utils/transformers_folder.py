"""What the folder of a model of transformers says of its clips: length, size, normalization."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmaction.errors import ConfigError
from mmaction.utils.hub import require

__all__ = ['ClipSpec', 'clip_spec', 'frames_of', 'model_config', 'quietly', 'size_keys', 'size_of']


@dataclass(frozen=True)
class ClipSpec:
    """What a model takes, as its processor and config say.

    Attributes:
        frames: Frames of a clip; None for a model of images.
        size: Height and width of a frame; None where any goes.
        short_side: To which the shorter side is resized before the crop.
        mean: Per channel, in 0-255 units.
        std: Likewise.
        channels: Of the features that its head sees.
    """

    frames: int | None
    size: int | None
    short_side: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    channels: int | None


@contextmanager
def quietly() -> Iterator[None]:
    """Import and use transformers without its notes and progress bars."""
    require('transformers', "a type 'transformers.NAME'")
    from transformers.utils import logging as theirs

    before, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(before)
        if bars:
            theirs.enable_progress_bar()


def model_config(folder: Path) -> Any:
    """The config of a model of transformers; code in its folder is never run.

    Raises:
        ConfigError: It is damaged, or of a model that this transformers does not know.
    """
    with quietly():
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = ' '.join(str(error).split()).split('. ')[0]
            raise ConfigError(
                f'{folder / "config.json"} cannot be read by transformers: {reason}'
            ) from error


def size_keys(config: object) -> tuple[str, str]:
    """How a config calls the frames of a clip and the size of a frame."""
    if hasattr(config, 'frames_per_clip'):
        return 'frames_per_clip', 'crop_size'
    return 'num_frames', 'image_size'


def frames_of(config: object) -> int | None:
    """Frames of a clip; None for a model of images."""
    frames: int | None = getattr(config, size_keys(config)[0], None)
    return frames


def size_of(config: Any) -> int | None:
    """Height and width of a frame; None where a model takes any.

    Raises:
        ConfigError: Frames are not square.
    """
    size = getattr(config, size_keys(config)[1], None)
    if isinstance(size, (list, tuple)):
        if len(set(size)) > 1:
            raise ConfigError(
                f'{config.model_type}: frames of {tuple(size)} are not square, which '
                'transformers backbones here have to be'
            )
        return int(size[0])
    return size


def clip_spec(folder: Path) -> ClipSpec:
    """What the config and the processor in a folder say; what they do not say is None.

    Raises:
        ConfigError: A file of the folder is damaged.
    """
    config = model_config(folder)
    processor = _processor(folder, frames_of(config) is not None)
    mean = std = None
    size, short_side = size_of(config), None
    if processor is not None:
        mean, std = _normalization(processor)
        crop = _edge(processor.crop_size) if getattr(processor, 'do_center_crop', False) else None
        resize = _edge(processor.size) if getattr(processor, 'do_resize', False) else None
        size = crop or resize or size
        short_side = resize
    return ClipSpec(
        frames_of(config), size, short_side, mean, std, getattr(config, 'hidden_size', None)
    )


def _processor(folder: Path, video: bool) -> Any:
    """The processor of clips, or of images where there is none; None if the folder has none."""
    names = ('video_preprocessor_config.json', 'preprocessor_config.json', 'processor_config.json')
    if not any((folder / name).is_file() for name in names):
        return None
    with quietly():
        from transformers import AutoImageProcessor, AutoVideoProcessor

        reason: Exception | None = None
        for kind in (AutoVideoProcessor, AutoImageProcessor)[not video :]:
            try:
                return kind.from_pretrained(folder, trust_remote_code=False)
            except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
                reason = error
    text = ' '.join(str(reason).split()).split('. ')[0]
    raise ConfigError(f'the processor of {folder} cannot be read by transformers: {text}')


def _edge(size: object) -> int | None:
    """The side of a square, or the shorter side."""
    for key in ('height', 'shortest_edge', 'width'):
        value = size.get(key) if isinstance(size, dict) else getattr(size, key, None)
        if value:
            return int(value)
    return size if isinstance(size, int) else None


def _normalization(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation in 0-255 units.

    A processor computes ((x f - o) - mean) / std of pixels x, with f its `rescale_factor` and
    o = 1 where it has an offset, which is (x - (o + mean) / f) / (std / f).
    """
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    # ViViT's processor of clips always has one, that of images unless it says otherwise.
    offset = float('Vivit' in type(processor).__name__ and getattr(processor, 'offset', True))
    normalizes = processor.do_normalize
    mean = processor.image_mean if normalizes else (0.0,) * 3
    std = processor.image_std if normalizes else (1.0,) * 3
    return (
        tuple(round((offset + value) / factor, 6) for value in mean),
        tuple(round(value / factor, 6) for value in std),
    )
