"""Frames by OpenCV."""

from __future__ import annotations

import numpy as np

from mmaction.errors import UnreadableVideoError

from .reader import Indices, plain_path, read_once, unreadable


class OpenCVReader:
    """Frames by OpenCV, which reads a file from its beginning.

    Its packages do not decode AV1. It converts 10-bit video, and MPEG-4 of odd
    width or height, to other gray levels than the other decoders, and takes the
    number of frames from the container, which in FLV and MPEG-PS is a guess.

    Args:
        filename: Path of the file.
        num_threads: Decoding threads; 0 leaves the number to FFmpeg.

    Raises:
        UnreadableVideoError: OpenCV cannot open the file.
    """

    def __init__(self, filename: str, num_threads: int = 1) -> None:
        import cv2

        self.filename = filename
        with unreadable(filename, UnicodeEncodeError):
            # A name that is not UTF-8 would crash OpenCV.
            filename.encode()
        self._options = [cv2.CAP_PROP_N_THREADS, num_threads]
        self._open()
        self._num_frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        if self._num_frames <= 0:
            raise UnreadableVideoError(filename, 'OpenCV finds no frames in it')

    def _open(self) -> None:
        import cv2

        self._capture = cv2.VideoCapture(plain_path(self.filename), cv2.CAP_FFMPEG, self._options)
        self._position = 0
        if not self._capture.isOpened():
            raise UnreadableVideoError(self.filename, 'OpenCV cannot open it')

    def __len__(self) -> int:
        return self._num_frames

    def get_avg_fps(self) -> float:
        """Frames per second; 0 if the file does not say."""
        return self._fps

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        if self._position > indices[0]:
            self._open()
        return np.stack([self._frame(int(index)) for index in indices])

    def _frame(self, index: int) -> np.ndarray:
        import cv2

        while self._capture.grab():
            self._position += 1
            if self._position > index:
                done, image = self._capture.retrieve()
                if not done:
                    break
                return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        raise UnreadableVideoError(
            self.filename, f'frame {index} of {len(self)} is damaged or missing'
        )

    def close(self) -> None:
        """Close the file."""
        self._capture.release()
