"""What a user hands over as a video, as the first entry of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch

from mmaction.errors import UnreadableVideoError
from mmaction.utils.cli import brief

from .decoders import PyAVReader
from .numbered_frames import numbered_frames
from .transforms.image_loading import RawFrameDecode

__all__ = ['FORMATS', 'Video', 'VideoSource', 'as_videos', 'clip_info', 'clip_name']

Video = Union[
    str, 'os.PathLike[str]', np.ndarray, torch.Tensor, Sequence[np.ndarray], Mapping[str, Any]
]
"""A video file, a folder of frames, frames as uint8 RGB, or a pipeline's own dict.

Frames are an array (T, H, W, 3), a tensor (T, H, W, 3) or (T, 3, H, W) as decoders of PyTorch give
it, or a list of T arrays (H, W, 3) or PIL images.
"""

_LONGEST_PATH = 4096
_KEYS = dict(video='filename', rawframes='frame_dir', array='array')
FORMATS = tuple(_KEYS)


def as_videos(inputs: Video | Sequence[Video]) -> tuple[list[Video], bool]:
    """A video or a list of videos as a list, and whether it was a list of them.

    A list of frames is one video.
    """
    given: Any = inputs
    several = isinstance(given, (list, tuple)) and not _is_frames(given)
    return (list(given) if several else [given]), several


def _is_frames(video: object) -> bool:
    from PIL import Image

    if not isinstance(video, (list, tuple)) or not video:
        return False
    return all(
        isinstance(frame, Image.Image)
        or (isinstance(frame, (np.ndarray, torch.Tensor)) and frame.ndim == 3)
        for frame in video
    )


def clip_name(video: Video) -> str:
    """How messages call a video."""
    if isinstance(video, (np.ndarray, torch.Tensor)):
        return f'array of shape {tuple(video.shape)}'
    if isinstance(video, (list, tuple)):
        return f'list of {len(video)} frames'
    if isinstance(video, Mapping):
        return str(video.get('filename') or video.get('frame_dir') or 'clip given as a dict')
    return str(video)


def clip_info(video: Video, input_format: str | None = None) -> tuple[str, dict[str, Any]]:
    """The kind of a video, and the dict that a pipeline starts from.

    Args:
        video: See `Video`.
        input_format: 'video', 'rawframes' or 'array'; told from the input if None.

    Raises:
        FileNotFoundError: There is no such file or folder.
        TypeError: The input is of none of these types.
        ValueError: It is not of the given format, or is malformed.
    """
    base = dict(label=-1, modality='RGB')
    if isinstance(video, Mapping):
        info = {**base, **video}
        kind = next((k for k, key in _KEYS.items() if key in info), None)
        if kind is None:
            raise ValueError("a clip given as a dict needs 'filename', 'frame_dir' or 'array'")
        info.setdefault('start_index', 1 if kind == 'rawframes' else 0)
    elif isinstance(video, (np.ndarray, torch.Tensor)) or _is_frames(video):
        kind, info = 'array', {**base, **_array_info(_as_array(video))}
    elif isinstance(video, (str, os.PathLike)):
        path = Path(video)
        if len(str(video)) > _LONGEST_PATH:
            raise FileNotFoundError(
                f'a path of {len(str(video))} characters is none: {brief(str(video))}'
            )
        if path.is_dir():
            kind, info = 'rawframes', {**base, **_folder_info(path)}
        elif path.is_file() or '://' in str(video):
            kind, info = 'video', {**base, 'filename': str(video), 'start_index': 0}
        else:
            raise FileNotFoundError(f'there is no video file or folder of frames {video}')
    else:
        raise TypeError(
            'a video is a path, an array or tensor (T, H, W, 3), a list of frames (H, W, 3) or a '
            f'dict, not {type(video).__name__}: {" ".join(brief(video).split())}'
        )
    if input_format not in (None, kind):
        raise ValueError(f'{clip_name(video)} is no input of format {input_format!r} but {kind!r}')
    return kind, info


def _as_array(frames: Any) -> np.ndarray:
    """Frames in any form of `Video` as one array."""
    from PIL import Image

    if isinstance(frames, (list, tuple)):
        images = [
            np.asarray(frame.convert('RGB') if isinstance(frame, Image.Image) else frame)
            for frame in frames
        ]
        sizes = sorted({image.shape for image in images})
        if len(sizes) > 1:
            raise ValueError(
                f'the frames of a video have one size, not {sizes[0]} and {sizes[1]}; arrays of '
                '3 dimensions are the frames of one video'
            )
        return np.stack(images)
    if isinstance(frames, torch.Tensor):
        array = frames.detach().cpu().numpy()
        is_planar = array.ndim == 4 and array.shape[1] == 3 != array.shape[3]
        return array.transpose(0, 2, 3, 1) if is_planar else array
    given: np.ndarray = frames
    return given


def _array_info(array: np.ndarray) -> dict[str, Any]:
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not len(array):
        raise ValueError(
            'a video given as an array has shape (T, H, W, 3), RGB, dtype uint8, not '
            f'{array.shape} of {array.dtype}'
        )
    return dict(array=array, total_frames=len(array), start_index=0)


def _folder_info(folder: Path) -> dict[str, Any]:
    """Template, first number and count of the frames `name_0001.jpg, ...` of a folder."""
    frames = numbered_frames(path.name for path in folder.iterdir())
    if frames is None:
        raise ValueError(
            f'{folder} holds no numbered images such as img_00001.jpg, the frames of one video. If '
            f'it holds videos, give a list of their paths, or call "mmaction predict {folder}"'
        )
    if frames.fault:
        raise ValueError(f'{folder}: {frames.fault}')
    return dict(
        frame_dir=str(folder),
        filename_tmpl=frames.template,
        start_index=frames.first,
        total_frames=frames.total,
    )


class VideoSource:
    """All frames of a video, read in small parts.

    Args:
        video: See `Video`.

    Attributes:
        fps: Frames per second, or None if the input does not say.

    Raises:
        ValueError: The video cannot be read.
    """

    def __init__(self, video: Video) -> None:
        self.name = clip_name(video)
        self._kind, self._info = clip_info(video)
        self.fps: float | None = None
        if self._kind == 'video':
            try:
                self._reader = PyAVReader(self._info['filename'])
            except UnreadableVideoError as error:
                raise ValueError(str(error)) from error
            self.fps = self._reader.get_avg_fps() or None

    def __len__(self) -> int:
        return len(self._reader) if self._kind == 'video' else self._info['total_frames']

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices from 0."""
        indices = np.asarray(indices)
        try:
            if self._kind == 'video':
                return self._reader.get_batch(indices)
            if self._kind == 'array':
                chosen: np.ndarray = self._info['array'][indices]
                return chosen
            inds = indices + self._info['start_index']
            images: np.ndarray = RawFrameDecode()({**self._info, 'frame_inds': inds})['imgs']
            return images
        except UnreadableVideoError as error:
            raise ValueError(str(error)) from error

    def parts(self, size: int = 32) -> Iterator[np.ndarray]:
        """The frames in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))
