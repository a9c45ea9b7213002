"""Fixtures of the dataset tests: small folders of synthesized videos."""

import pytest

from tests.video_factory import write_video


@pytest.fixture(scope='session')
def video(tmp_path_factory):
    """An H.264 file of 60 numbered frames."""
    return write_video(tmp_path_factory.mktemp('video') / 'clip.mp4', num_frames=60)


@pytest.fixture(scope='session')
def video_folder(tmp_path_factory):
    """Six videos of 30 to 55 frames and `list.txt`, labels 0 to 2; `classes.txt`."""
    root = tmp_path_factory.mktemp('videos')
    lines = []
    for number in range(6):
        write_video(root / f'clip {number}.mp4', num_frames=30 + 5 * number)
        lines.append(f'clip {number}.mp4 {number % 3}')
    (root / 'list.txt').write_text('\n'.join(lines) + '\n')
    (root / 'classes.txt').write_text('run\njump\nsit still\n')
    return root
