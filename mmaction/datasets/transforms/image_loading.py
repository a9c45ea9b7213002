"""Clips out of image files and arrays.

All write `imgs`, one uint8 array, with `original_shape` and `img_shape` (h, w).
"""

from __future__ import annotations

import io
import os.path as osp
from typing import Any

import numpy as np
from mmengine.fileio import get_file_backend

from mmaction.datasets.decoders.reader import BlankReader, read_once
from mmaction.errors import UnreadableVideoError
from mmaction.registry import TRANSFORMS
from mmaction.utils.file_backend import FsspecBackend
from mmaction.utils.remote import is_remote, read_bytes, redacted

from .base import BaseTransform

__all__ = [
    'ArrayDecode',
    'BuildPseudoClip',
    'FileSource',
    'ImageDecode',
    'LoadRGBFromFile',
    'RawFrameDecode',
]


class FileSource:
    """Where the bytes of files come from.

    Args:
        io_backend: 'disk' or another of mmengine's file backends.
        kwargs: Arguments of the file backend.
    """

    def __init__(self, io_backend: str = 'disk', **kwargs: Any) -> None:
        self.io_backend = io_backend
        self.kwargs = kwargs
        # Opened in the worker: connections do not survive a fork.
        self._backend: Any = None

    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            UnreadableVideoError: There is no such file.
        """
        if self.io_backend == 'disk' and is_remote(path):
            return self._read_remote(path)
        if self._backend is None:
            name = 'local' if self.io_backend == 'disk' else self.io_backend
            if name == 'fsspec':
                self._backend = FsspecBackend(**self.kwargs)
            else:
                self._backend = get_file_backend(backend_args=dict(backend=name, **self.kwargs))
        try:
            content = self._backend.get(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnreadableVideoError(redacted(path), reason) from error
        if content is None:
            raise UnreadableVideoError(path, f'there is no such file in {self.io_backend}')
        return bytes(content)

    @staticmethod
    def _read_remote(path: str) -> bytes:
        try:
            return read_bytes(path)
        except OSError as error:
            reason = str(error).removeprefix(f'{redacted(path)}: ')
            raise UnreadableVideoError(redacted(path), reason) from None


def decode_image(content: bytes, path: str, backend: str, gray: bool = False) -> np.ndarray:
    """Pixels of an encoded image, (H, W, 3) uint8 RGB or (H, W) gray.

    Raises:
        UnreadableVideoError: The bytes are not an image.
    """
    image: np.ndarray | None
    if backend == 'cv2':
        import cv2

        flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
        data = np.frombuffer(content, np.uint8)
        image = cv2.imdecode(data, flag) if len(data) else None
        if image is not None and not gray:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    else:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
            image = np.array(picture.convert('L' if gray else 'RGB'))
        except (UnidentifiedImageError, OSError, SyntaxError):
            image = None
    if image is None:
        raise UnreadableVideoError(path, 'it is not an image that can be decoded')
    return image


class _ImageTransform(BaseTransform):
    """Reads image files.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        decoding_backend: 'cv2' or 'pillow'.
        kwargs: Arguments of the file backend.
    """

    shown = ('io_backend', 'decoding_backend')

    def __init__(
        self, io_backend: str = 'disk', decoding_backend: str = 'cv2', **kwargs: Any
    ) -> None:
        if decoding_backend not in ('cv2', 'pillow'):
            raise ValueError(
                f"decoding_backend must be 'cv2' or 'pillow', found {decoding_backend!r}"
            )
        self.io_backend = io_backend
        self.decoding_backend = decoding_backend
        self.source = FileSource(io_backend, **kwargs)

    def _image(self, path: str, gray: bool = False) -> np.ndarray:
        return decode_image(self.source.read(path), path, self.decoding_backend, gray)


def _set_frames(results: dict[str, Any], imgs: np.ndarray) -> dict[str, Any]:
    results['imgs'] = imgs
    results['original_shape'] = results['img_shape'] = imgs.shape[1:3]
    return results


@TRANSFORMS.register_module()
class RawFrameDecode(_ImageTransform):
    """Read the frames `frame_inds` of a folder of image files.

    Reads frame_dir, filename_tmpl, frame_inds, modality and, where it exists,
    `offset`, which is added to the indices. Frames of optical flow are (H, W, 2)
    from the two files whose names the template makes of ('x' or 'y', index).
    A frame that is wanted twice is read once.

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        decoding_backend: 'cv2' or 'pillow'.
        kwargs: Arguments of the file backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the frames chosen in `results`.

        Raises:
            UnreadableVideoError: A file is missing or is no image, or frames
                differ in size.
            ValueError: The modality is neither 'RGB' nor 'Flow'.
        """
        modality = results['modality']
        if modality not in ('RGB', 'Flow'):
            raise ValueError(f"modality must be 'RGB' or 'Flow', found {modality!r}")
        frame_inds = results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        if results.get('blank'):
            black = BlankReader(results['frame_dir']).get_batch(frame_inds)
            return _set_frames(results, black if modality == 'RGB' else black[..., :2])
        indices = frame_inds + results.get('offset', 0)
        try:
            imgs = read_once(indices, lambda unique: self._read(unique, results))
        except UnreadableVideoError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or 'start_index' not in results:
                raise
            start = results['start_index']
            raise UnreadableVideoError(
                error.filename,
                f'{error.reason} (start_index={start}: is the first frame of a folder number '
                f'{start}?)',
            ) from error
        return _set_frames(results, imgs)

    def _read(self, indices: np.ndarray, results: dict[str, Any]) -> np.ndarray:
        folder, template = results['frame_dir'], results['filename_tmpl']
        frames = []
        for index in indices.tolist():
            if results['modality'] == 'RGB':
                frames.append(self._image(osp.join(folder, template.format(index))))
            else:
                paths = [osp.join(folder, template.format(axis, index)) for axis in 'xy']
                frames.append(np.stack([self._image(path, gray=True) for path in paths], axis=-1))
        sizes = {frame.shape[:2] for frame in frames}
        if len(sizes) > 1:
            raise UnreadableVideoError(folder, f'its frames differ in size: {sorted(sizes)}')
        return np.stack(frames)


@TRANSFORMS.register_module()
class ArrayDecode(BaseTransform):
    """Take the frames `frame_inds` of the array `array` (T, H, W, C).

    Reads array, frame_inds, modality and, where it exists, `offset`. Of optical
    flow, (T, H, W, 2), the frames x and y alternate as (2 T, H, W).

    Source: the transform of this name in mmaction2 1.2.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Take the frames chosen in `results`.

        Raises:
            ValueError: The modality is neither 'RGB' nor 'Flow'.
        """
        frame_inds = results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        frames = np.asarray(results['array'])[frame_inds + results.get('offset', 0)]
        if results['modality'] == 'Flow':
            frames = np.moveaxis(frames, -1, 1).reshape(-1, *frames.shape[1:3])
        elif results['modality'] != 'RGB':
            raise ValueError(f"modality must be 'RGB' or 'Flow', found {results['modality']!r}")
        return _set_frames(results, frames)


@TRANSFORMS.register_module()
class ImageDecode(_ImageTransform):
    """Read the image `filename` as a clip of one frame (1, H, W, 3).

    Args:
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        decoding_backend: 'cv2' or 'pillow'.
        kwargs: Arguments of the file backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the image of `results`.

        Raises:
            UnreadableVideoError: The file is missing or is no image.
        """
        if results.get('blank'):
            return _set_frames(results, BlankReader(results['filename']).get_batch([0]))
        return _set_frames(results, self._image(results['filename'])[None])


@TRANSFORMS.register_module()
class LoadRGBFromFile(_ImageTransform):
    """Read the image `img_path` as `img` (H, W, 3), with `img_shape` and `ori_shape`.

    Args:
        to_float32: Whether the pixels become float32, still 0 to 255.
        color_type: 'color', or 'grayscale' for (H, W).
        imdecode_backend: 'cv2' or 'pillow'.
        io_backend: Where files are: 'disk' or another of mmengine's file backends.
        ignore_empty: Give None for an image that cannot be read, in whose place a
            dataset draws another.
        kwargs: Arguments of the file backend.

    Raises:
        ValueError: Another `color_type` or backend.

    Source: the transform of this name in mmaction2 1.2.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        io_backend: str = 'disk',
        ignore_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(io_backend, imdecode_backend, **kwargs)
        if color_type not in ('color', 'grayscale'):
            raise ValueError(f"color_type must be 'color' or 'grayscale', found {color_type!r}")
        self.to_float32 = to_float32
        self.gray = color_type == 'grayscale'
        self.ignore_empty = ignore_empty

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Read the image of `results`.

        Raises:
            UnreadableVideoError: The file is missing or is no image.
        """
        try:
            image = self._image(results['img_path'], self.gray)
        except UnreadableVideoError:
            if self.ignore_empty:
                return None
            raise
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class BuildPseudoClip(BaseTransform):
    """Repeat a single frame `clip_len` times.

    Writes imgs, clip_len and num_clips (1).

    Args:
        clip_len: Frames of the clip.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('clip_len',)

    def __init__(self, clip_len: int) -> None:
        if clip_len <= 0:
            raise ValueError(f'clip_len must be positive, found {clip_len}')
        self.clip_len = clip_len

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Repeat the frame of `results`.

        Raises:
            ValueError: There are several frames.
        """
        imgs = results['imgs']
        if len(imgs) != 1:
            raise ValueError(f'BuildPseudoClip takes a single frame, found {len(imgs)}')
        clip = np.repeat(np.asarray(imgs), self.clip_len, axis=0)
        results['imgs'] = list(clip) if isinstance(imgs, list) else clip
        results['clip_len'] = self.clip_len
        results['num_clips'] = 1
        return results
