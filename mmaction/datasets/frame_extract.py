"""All frames of a video as JPEG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .video_source import VideoSource

__all__ = ['frame_extract']


def frame_extract(
    video_path: str, short_side: int | None = None, out_dir: str = './tmp'
) -> tuple[list[str], list[np.ndarray]]:
    """Write the frames of a video to `<out_dir>/<name of the video>/img_000001.jpg, ...`.

    Args:
        video_path: The video.
        short_side: Length in pixels to which the shorter side is resized; None keeps the size.
        out_dir: Folder.

    Returns:
        The paths, and the frames (H, W, 3), uint8 BGR, as OpenCV has them. All are held in
        memory; `tools/data/extract_frames.py` does without.

    Raises:
        FileNotFoundError: There is no such video.
        ValueError: It cannot be read.
        OSError: A frame cannot be written.

    Source: the function of this name in mmaction2 1.x.
    """
    video = VideoSource(video_path)
    folder = Path(out_dir, Path(video_path).stem)
    folder.mkdir(parents=True, exist_ok=True)
    paths, frames = [], []
    for part in video.parts():
        for frame in part[..., ::-1]:
            if short_side is not None:
                factor = short_side / min(frame.shape[:2])
                height, width = (int(side * factor + 0.5) for side in frame.shape[:2])
                frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
            frames.append(np.ascontiguousarray(frame))
            paths.append(str(folder / f'img_{len(frames):06d}.jpg'))
            if not cv2.imwrite(paths[-1], frames[-1]):
                raise OSError(f'OpenCV cannot write {paths[-1]}')
    return paths, frames
