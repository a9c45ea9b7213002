"""Every kind of broken file ends in the one typed error."""

import gc
import os
import re
from importlib.util import find_spec

import pytest

from mmaction.datasets.decoders import DecordReader, OpenCVReader, PyAVReader
from mmaction.errors import UnreadableVideoError
from tests.video_factory import BROKEN, frame_number, write_broken

READERS = [PyAVReader, OpenCVReader, *([DecordReader] if find_spec('decord') else [])]


def read_last(reader, path):
    video = reader(str(path))
    return video.get_batch([0, len(video) - 1])


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('kind', BROKEN)
def test_error_names_file_and_reason(tmp_path, reader, kind):
    path = write_broken(tmp_path / 'clip.mp4', kind)
    with pytest.raises(UnreadableVideoError) as caught:
        read_last(reader, path)
    assert caught.value.filename == str(path)
    assert caught.value.reason
    assert str(caught.value) == f'{str(path)!r} cannot be read: {caught.value.reason}'


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('missing', 'No such file or directory'),
        ('empty', '^the file is empty$'),
        ('text', '^Invalid data found when processing input$'),
        ('directory', 'Is a directory'),
        ('sound only', 'it holds no video stream'),
        ('no frames', 'it holds no video frames'),
        ('too few frames', r'frame \d+ of \d+ is damaged or missing'),
    ],
)
def test_error_reason_is_specific(tmp_path, kind, reason):
    path = write_broken(tmp_path / 'clip.mp4', kind)
    with pytest.raises(UnreadableVideoError) as caught:
        read_last(PyAVReader, path)
    assert re.search(reason, caught.value.reason)


# decord decodes ahead and so fails on frames before the damage too.
@pytest.mark.parametrize('reader', [PyAVReader, OpenCVReader])
def test_frames_before_corruption_are_readable(tmp_path, reader):
    path = write_broken(tmp_path / 'clip.mp4', 'too few frames')
    assert [frame_number(image) for image in reader(str(path)).get_batch([0, 3])] == [0, 3]


@pytest.mark.parametrize('reader', READERS)
def test_corrupt_files_leave_no_open_handles(tmp_path, reader):
    paths = [write_broken(tmp_path / f'{kind}.mp4', kind) for kind in BROKEN]
    gc.collect()
    gc.disable()
    try:
        counts = []
        for _ in range(3):
            for path in paths:
                with pytest.raises(UnreadableVideoError):
                    read_last(reader, path)
            counts.append(len(os.listdir('/proc/self/fd')))
    finally:
        gc.enable()
    assert counts[1:] == counts[:1] * 2
