"""Reading uploads in a child process, with limits of time, memory and pixels.

An upload of a few kilobytes may unfold to gigabytes, hang a decoder or crash it. The server
outlives all three: it never opens the file itself.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmaction.apis.test_pipeline import steps_for
from mmaction.datasets.decoders import PyAVReader
from mmaction.datasets.video_source import clip_info
from mmaction.errors import UnreadableVideoError
from mmaction.registry import TRANSFORMS
from mmaction.utils.isolated_call import CallCrashed, CallTimedOut, IsolatedCall, isolated_call
from mmaction.utils.memory import limit_memory

from .uploads import Limits, VideoFacts, check_video, container_format

__all__ = ['UploadReader']

Step = Mapping[str, Any]
Result = TypeVar('Result')


class UploadReader:
    """Look into uploads and decode them, frame by frame, in one child process.

    Frames are decoded by PyAV, whatever decoder the pipeline names (they are the same
    pixels), and made small before the next one is decoded. The child has a limit of
    memory on Linux; elsewhere uploads are read in this process.

    Args:
        limits: What is taken.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._call: IsolatedCall | None = None
        if sys.platform == 'linux':
            self._call = isolated_call(_within_memory, limits.decode_seconds)
            # Forked now, while no thread of the server holds a lock that the child would wait
            # for; one that has to take its place finds the modules imported.
            _import_decoders()
            self._call(limits.memory_megabytes, len, '')

    def check(self, path: Path, name: str) -> VideoFacts:
        """See `mmaction.apis.web.uploads.check_video`."""
        return self._run(path, check_video, path, name, self.limits)

    def clips(self, path: Path, pipelines: Sequence[Sequence[Step]]) -> list[dict[str, Any]]:
        """What each pipeline makes of a video.

        Args:
            path: The file.
            pipelines: Configs of transforms.

        Raises:
            ValueError: The video cannot be read within the limits.
        """
        return self._run(path, _read_clips, path, pipelines, self.limits.pixels)

    def preview(self, path: Path) -> bytes:
        """The middle frame of a video as a small JPEG.

        Raises:
            ValueError: The video cannot be read within the limits.
        """
        return self._run(path, _preview, path, self.limits.pixels)

    def _run(self, path: Path, function: Callable[..., Result], *args: Any) -> Result:
        try:
            if self._call is None:
                return function(*args)
            result: Result = self._call(self.limits.memory_megabytes, function, *args)
            return result
        except UnreadableVideoError as error:
            raise ValueError(str(error)) from error
        except (CallCrashed, CallTimedOut) as error:
            raise ValueError(f'{path}: reading it {error}') from error
        except MemoryError as error:
            raise ValueError(
                f'{path}: reading it takes more than {self.limits.memory_megabytes} MB of memory'
            ) from error

    def close(self) -> None:
        """End the child."""
        if self._call is not None:
            self._call.close()


def _within_memory(megabytes: int, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; in its process it may take so much more memory than at the first call."""
    limit_memory(megabytes * 1_000_000)
    return function(*args)


def _import_decoders() -> None:
    import av  # noqa: F401
    import cv2  # noqa: F401
    import PIL.Image  # noqa: F401

    import mmaction.datasets.transforms  # noqa: F401


def _preview(path: Path, pixels: int) -> bytes:
    from PIL import Image

    opened = _Open(pixels)(dict(filename=str(path)))
    reader = opened['video_reader']
    thumbnail = Image.fromarray(reader.get_batch([len(reader) // 2])[0])
    reader.close()
    thumbnail.thumbnail((160, 160))
    data = io.BytesIO()
    thumbnail.save(data, 'JPEG', quality=85)
    return data.getvalue()


def _read_clips(path: Path, pipelines: Sequence[Sequence[Step]], pixels: int) -> list[Any]:
    from mmaction.datasets.transforms.pipeline import Pipeline

    info = clip_info(path)[1]
    try:
        return [Pipeline(_build(steps, pixels))(dict(info)) for steps in pipelines]
    except (KeyError, IndexError) as error:
        raise ValueError(
            f'{path}: the pipeline fails on it ({type(error).__name__}: {error})'
        ) from error


def _build(steps: Sequence[Step], pixels: int) -> list[Callable[[Any], Any]]:
    """The transforms of a pipeline, with ours in the place of those that open and decode."""
    transforms: list[Callable[[Any], Any]] = [_Open(pixels)]
    rest = [dict(step) for step in steps_for(steps, 'video') if not step['type'].endswith('Init')]
    while rest:
        step = rest.pop(0)
        if not step['type'].endswith('Decode'):
            transforms.append(TRANSFORMS.build(step))
        elif rest and rest[0]['type'] == 'Resize' and not rest[0].get('lazy'):
            transforms.append(_Decode(TRANSFORMS.build(rest.pop(0))))
        else:
            transforms.append(_Decode(None))
    return transforms


class _Open:
    """Open the file by PyAV, as the container that its first bytes say."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results['filename']
        with Path(path).open('rb') as file:
            kind = container_format(file.read(512))
        # A tenth more, since sides are stored as multiples of up to 64.
        reader = PyAVReader(path, container=kind, max_pixels=round(1.1 * self.pixels))
        results.update(video_reader=reader, total_frames=len(reader), avg_fps=reader.get_avg_fps())
        return results


class _Decode:
    """Decode the chosen frames, each resized before the next one is decoded."""

    def __init__(self, resize: Callable[[Any], Any] | None) -> None:
        self.resize = resize

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        reader = results.pop('video_reader')
        numbers = results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        changes: dict[str, Any] = {}

        def resized(frame: np.ndarray) -> np.ndarray:
            shape = frame.shape[:2]
            changes.update(original_shape=shape, img_shape=shape)
            if self.resize is None:
                return frame
            changes.update(self.resize({**results, **changes, 'imgs': frame[None]}))
            image: np.ndarray = changes.pop('imgs')[0]
            return image

        imgs = reader.get_batch(numbers, resized)
        reader.close()
        return {**results, **changes, 'imgs': imgs}
