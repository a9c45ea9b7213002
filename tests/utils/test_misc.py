import cv2
import numpy as np
import pytest
from mmengine.config import Config


def test_get_str_type():
    from mmaction.utils import get_str_type

    assert get_str_type('Resize') == 'Resize'
    assert get_str_type(Config) == 'Config'
    assert get_str_type(get_str_type) == 'get_str_type'
    assert get_str_type(3) is None


def test_register_all_modules_sets_the_scope_again(recwarn):
    from mmengine.registry import DefaultScope, init_default_scope

    from mmaction.utils import register_all_modules

    for before in ('mmaction', 'mmengine'):
        init_default_scope(before)
        register_all_modules()
        assert DefaultScope.get_current_instance().scope_name == 'mmaction'
    assert not [w for w in recwarn if 'get_instance' in str(w.message)]


def test_video_writer(tmp_path):
    from mmaction.utils import VideoWriter

    for name in ('out/a.mp4', 'out/b.avi'):
        with VideoWriter(str(tmp_path / name), 10) as writer:
            for value in (0, 120, 250):
                writer.write_frame(np.full((48, 64, 3), value, np.uint8))
        capture = cv2.VideoCapture(str(tmp_path / name))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    with pytest.raises(ValueError, match=r'must end in .mp4 or .avi'):
        VideoWriter('out.mov', 10)


def test_track(capsys):
    from mmaction.utils import track, track_on_main_process

    assert list(track([1, 2], 'videos')) == [1, 2]
    assert list(track_on_main_process(iter('ab'), total=2)) == ['a', 'b']
    assert 'videos: 100%' in capsys.readouterr().err
