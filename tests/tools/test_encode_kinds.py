"""The files of the table of five kinds of file."""

import av
import pytest

from tests.video_factory import write_video
from tools.analysis_tools import encode_kinds


def test_five_kinds_of_file_and_their_lists(tmp_path, monkeypatch):
    clip = write_video(tmp_path / 'clip.mp4', num_frames=8)
    out = tmp_path / 'kinds'
    monkeypatch.setattr('sys.argv', ['encode_kinds.py', str(clip), str(out)])
    encode_kinds.main()
    found = {}
    for path in sorted(out.glob('*.txt')):
        name, label = path.read_text().split()
        with av.open(str(out / name)) as container:
            context = container.streams.video[0].codec_context
            kinds = [frame.pict_type for frame in container.decode(video=0)]
            has_b = av.video.frame.PictureType.B in kinds
            found[name] = context.name, context.width, context.height, len(kinds), has_b
        assert label == '0'
    assert found == {
        'hevc_1080p.mp4': ('hevc', 1920, 1080, 8, False),
        'mpeg4.avi': ('mpeg4', 128, 80, 8, False),
        'prepared.mp4': ('h264', 128, 80, 8, True),
        'x264.mp4': ('h264', 128, 80, 8, True),
        'x264_720p.mp4': ('h264', 1280, 720, 8, True),
    }


def test_a_missing_clip_is_one_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['encode_kinds.py', str(tmp_path / 'none.mp4'), str(tmp_path)])
    with pytest.raises(SystemExit):
        encode_kinds.main()
    assert 'none.mp4' in capsys.readouterr().err
