import cv2
import numpy as np
import pytest

from tests.video_factory import write_video


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / 'clip.mp4', 20, 64, 48, fps=25)
    return str(tmp_path / 'clip.mp4')


def test_frame_extract(video, tmp_path):
    from mmaction.datasets.video_source import VideoSource
    from mmaction.utils import frame_extract

    paths, frames = frame_extract(video, out_dir=str(tmp_path / 'out'))
    assert paths == [str(tmp_path / 'out' / 'clip' / f'img_{i:06d}.jpg') for i in range(1, 21)]
    expected = VideoSource(video).read(np.arange(20))
    np.testing.assert_array_equal(np.stack(frames)[..., ::-1], expected)
    assert np.abs(cv2.imread(paths[3]).astype(int) - frames[3]).mean() < 8
    _, small = frame_extract(video, short_side=24, out_dir=str(tmp_path / 'small'))
    assert small[0].shape == (24, 32, 3)
    with pytest.raises(FileNotFoundError, match=r'none\.mp4'):
        frame_extract(str(tmp_path / 'none.mp4'))
