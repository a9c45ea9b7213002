"""Frames by OpenCV where it is exact, by PyAV elsewhere."""

from __future__ import annotations

import numpy as np

from mmaction.errors import UnreadableVideoError

from .checked_reader import CheckedReader, is_upright
from .pyav_reader import PyAVReader
from .reader import Indices, plain_path, read_once, unreadable

__all__ = ['OpenCVReader']

# Of these, and without interlacing, OpenCV gives the same pixels as the other decoders.
_EXACT_CODECS = ('h264', 'hevc', 'vp8', 'vp9')
_EXACT_FORMATS = ('yuv420p', 'yuvj420p', 'gray')


class OpenCVReader(CheckedReader):
    """Frames by OpenCV, which reads a file from its beginning, or by PyAV where it is not exact.

    OpenCV takes the number of frames from the header, which may be wrong; of
    interlaced video it returns memory that was never written; its packages do
    not decode AV1; it converts 10-bit video, and MPEG-4 of odd size, to other
    gray levels; it does not mirror. See `CheckedReader` for what is done about
    it. `num_threads` 0 leaves the number of threads to FFmpeg.
    """

    decoder = 'OpenCV'

    def _fits(self, reader: PyAVReader) -> bool:
        if not (reader.has_one_stream and reader.is_timed and reader.codec in _EXACT_CODECS):
            return False
        # AVI has no time stamps to hold OpenCV's count against.
        if reader.container == 'avi':
            return False
        frame = reader.first_frame()
        return (
            frame is not None
            and not frame.interlaced_frame
            and not reader.is_marked_interlaced
            and frame.format.name in _EXACT_FORMATS
            and is_upright(frame, turns=True)
        )

    def _open_fast(self, filename: str, content: bytes | None, num_threads: int) -> _OpenCV:
        if content is not None:
            raise UnreadableVideoError(filename, 'OpenCV reads files only')
        return _OpenCV(filename, num_threads, self._pyav.seconds)


class _OpenCV:
    """Frames by OpenCV.

    Args:
        filename: Path of the file.
        num_threads: Decoding threads; 0 leaves the number to FFmpeg.
        seconds: Time of each frame from the first one on. OpenCV leaves out frames that it
            cannot decode, which its own time stamps tell.

    Raises:
        UnreadableVideoError: OpenCV cannot open the file.
    """

    def __init__(self, filename: str, num_threads: int, seconds: np.ndarray) -> None:
        import cv2

        self.filename = filename
        with unreadable(filename, UnicodeEncodeError):
            # A name that is not UTF-8 would crash OpenCV.
            filename.encode()
        self._options = [cv2.CAP_PROP_N_THREADS, num_threads]
        self._seconds = seconds
        self._open()

    def _open(self) -> None:
        import cv2

        self._capture = cv2.VideoCapture(plain_path(self.filename), cv2.CAP_FFMPEG, self._options)
        self._position = 0
        if not self._capture.isOpened():
            raise UnreadableVideoError(self.filename, 'OpenCV cannot open it')

    def __len__(self) -> int:
        return len(self._seconds)

    def get_avg_fps(self) -> float:
        """Frames per second."""
        import cv2

        return float(self._capture.get(cv2.CAP_PROP_FPS))

    def get_batch(self, indices: Indices) -> np.ndarray:
        """Frames (N, H, W, 3), uint8 RGB, of N indices in any order."""
        return read_once(indices, self._read)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        # Why not set CAP_PROP_POS_FRAMES? OpenCV works the place out from the frame rate, and lands
        # beside it where frames are shown in another order than they are stored, or at a varying
        # rate. Indices come sorted, so reading on from the beginning meets each once.
        if self._position > indices[0]:
            self._open()
        return np.stack([self._frame(int(index)) for index in indices])

    def _frame(self, index: int) -> np.ndarray:
        import cv2

        # `grab` decodes; only the frames that are wanted are converted to RGB, by `retrieve`.
        while self._capture.grab():
            self._position += 1
            if self._position > index:
                shown_at = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # Why not trust the count? Of a damaged frame `grab` gives the next one instead, and
                # every index after it would mean another frame.
                if abs(shown_at - self._seconds[index]) > 1e-4:
                    break
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
