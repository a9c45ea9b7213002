"""What counts as an uploaded video, by its first bytes and by what FFmpeg says of it."""

import av
import numpy as np
import pytest

from mmaction.apis.web.uploads import Limits, UploadError, check_video, container_format
from tests.apis.web_site import LIMITS


def test_container_is_detected_by_magic_bytes(tmp_path):
    for name, kind in (
        ('a.mp4', 'mov'),
        ('a.mkv', 'matroska'),
        ('a.avi', 'avi'),
        ('a.ts', 'mpegts'),
    ):
        path = tmp_path / name
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('mpeg4', rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for i in range(10):
                picture = np.full((48, 64, 3), 25 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode())
        assert container_format(path.read_bytes()[:512]) == kind
        facts = check_video(path, name, LIMITS)
        assert (facts.width, facts.height) == (64, 48)
        assert 0.8 < facts.seconds < 1.2
    sound = tmp_path / 'sound.mp4'
    with av.open(str(sound), 'w') as container:
        stream = container.add_stream('aac', rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UploadError, match='it holds no video stream'):
        check_video(sound, 'sound.mp4', LIMITS)


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        (dict(seconds=1), 'is 2 seconds long; this page takes videos of up to 1 seconds'),
        (dict(side=63), 'has 64 x 48 pixels; this page takes up to 63 on a side'),
        (dict(pixels=64 * 48 - 1), 'has 64 x 48 pixels; this page takes up to 0.003071 million'),
    ],
)
def test_limits_of_length_and_size(clip, limits, message):
    with pytest.raises(UploadError, match=f'^a clip {message}'):
        check_video(clip, 'a clip', Limits(**limits))
    assert check_video(clip, 'a clip', Limits(seconds=2, side=64, pixels=64 * 48)).seconds == 2


def test_empty_damaged_and_other_files_are_one_sentence(clip, tmp_path):
    path = tmp_path / 'x.mp4'
    for content, message in (
        (b'', 'is empty'),
        (b'#EXTM3U\nfile:///etc/passwd\n', 'is not a video that this page can read'),
        (clip.read_bytes()[:200], 'is damaged or incomplete'),
    ):
        path.write_bytes(content)
        with pytest.raises(UploadError, match=f'^x {message}'):
            check_video(path, 'x', Limits())
