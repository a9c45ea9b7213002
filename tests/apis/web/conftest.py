import pytest

from tests.video_factory import write_video


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / 'a clip.mp4', 20, 64, 48, fps=10)
