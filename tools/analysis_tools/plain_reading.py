"""Reading a clip for training in a few plain lines: what `benchmark_data.py --against` runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

__all__ = ['OPPONENTS', 'plain_reading']


def read_decord(path: str, indices: Sequence[int]) -> np.ndarray:
    """Frames (T, H, W, 3) by decord."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    frames: np.ndarray = reader.get_batch(list(indices)).asnumpy()
    return frames


def read_torchcodec(path: str, indices: Sequence[int]) -> np.ndarray:
    """Frames (T, H, W, 3) by torchcodec."""
    from torchcodec.decoders import VideoDecoder

    reader: Any = VideoDecoder(path, dimension_order='NHWC', num_ffmpeg_threads=1)
    frames: np.ndarray = reader.get_frames_at(list(indices)).data.numpy()
    return frames


OPPONENTS = {'decord': read_decord, 'torchcodec': read_torchcodec}


def plain_reading(reader: str, path: str, indices: Sequence[int]) -> torch.Tensor:
    """A training clip (3, T, 224, 224), uint8: OpenCV resizes, crops at random and flips."""
    frames = list(OPPONENTS[reader](path, indices))
    height, width = frames[0].shape[:2]
    scale = 256 / min(height, width)
    size = round(width * scale), round(height * scale)
    frames = [cv2.resize(frame, size) for frame in frames]
    left, top, crop_w, crop_h = random_box(*size)
    frames = [frame[top : top + crop_h, left : left + crop_w] for frame in frames]
    frames = [cv2.resize(frame, (224, 224)) for frame in frames]
    if random.random() < 0.5:
        frames = [cv2.flip(frame, 1) for frame in frames]
    return torch.from_numpy(np.stack(frames).transpose(3, 0, 1, 2).copy())


def random_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of 0.08 to 1 of the area, aspect ratio 3/4 to 4/3."""
    for _ in range(10):
        area = random.uniform(0.08, 1) * width * height
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= width and h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side
