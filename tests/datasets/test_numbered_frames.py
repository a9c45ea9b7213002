"""Folders of frames as they are found on disks."""

import numpy as np
import pytest

from mmaction.datasets.numbered_frames import FrameFolder, numbered_frames
from mmaction.datasets.video_source import VideoSource, clip_info


def test_leftovers_and_flow_are_no_frames(tmp_path):
    """What file managers and optical flow leave beside the frames."""
    import cv2

    for number in (1, 2, 3):
        image = np.full((16, 16, 3), 60 * number, np.uint8)
        for name in ('img_{:05}.jpg', 'flow_x_{:05}.jpg', 'flow_y_{:05}.jpg', 'x_{:05}.jpg'):
            cv2.imwrite(str(tmp_path / name.format(number)), image)
        (tmp_path / f'._img_{number:05}.jpg').write_bytes(b'Mac OS X')
    for name in ('Thumbs.db', '.DS_Store', 'desktop.ini', 'notes.txt'):
        (tmp_path / name).write_text('x')
    kind, info = clip_info(tmp_path)
    assert kind == 'rawframes'
    assert (info['filename_tmpl'], info['start_index'], info['total_frames']) == (
        'img_{:05}.jpg',
        1,
        3,
    )
    means = VideoSource(tmp_path).read([0, 1, 2]).mean((1, 2, 3))
    np.testing.assert_allclose(means, [60, 120, 180], atol=2)


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['img_1.jpg', 'img_2.jpg'], FrameFolder(2, 1, 'img_{}.jpg')),
        (['frame009.png', 'frame010.png'], FrameFolder(2, 9, 'frame{:03}.png')),
        (['Thumbs.db', '._img_1.jpg'], None),
        ([], None),
    ],
)
def test_template_first_and_count(names, expected):
    assert numbered_frames(names) == expected


@pytest.mark.parametrize(
    ('names', 'fault'),
    [
        (['img_1.jpg', 'img_3.jpg'], "frames are missing before 'img_3.jpg'"),
        (['img_1.jpg', 'img_2.jpg', 'cover.jpg'], '1 images have other names'),
    ],
)
def test_faults(names, fault):
    assert fault in numbered_frames(names).fault
