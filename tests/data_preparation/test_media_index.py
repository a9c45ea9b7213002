import os
from pathlib import Path

import pytest

from mmaction.data_preparation.media_index import AmbiguousClipError, MediaIndex, scan_frames
from mmaction.data_preparation.schema import strip_extension
from tests.data_preparation.preparing import dropped, images, kinetics, lines, run, touch


def test_faulty_frame_folders_are_reported(tmp_path, capsys):
    kinetics(tmp_path, [f'x,{name},0,1' for name in ('ok', 'gap', 'late', 'other', 'two', 'flow')])
    videos = tmp_path / 'videos'
    images(videos, 'ok', 'val0')
    images(videos, 'gap', count=5)
    (videos / 'gap' / 'img_00003.jpg').unlink()
    images(videos, 'late', first=2)
    images(videos, 'other', template='{:05}.jpg')
    images(videos, 'two')
    images(videos, 'two', count=1, template='frame{:05}.jpg')
    images(videos, 'flow', template='flow_y_{:05}.jpg')
    out = run(tmp_path, 'kinetics400', '--frames')
    assert lines(out / 'train_rawframes.txt') == ['ok 3 0']
    assert {row[2]: row[3] for row in dropped(out / 'dropped_rawframes.tsv')} == {
        'gap': "frames are missing before 'img_00004.jpg'",
        'late': "the first frame is 'img_00002.jpg'",
        'other': "its first frame is '00001.jpg', that of most clips 'img_00001.jpg'",
        'two': "1 images have other names than 'img_{:05}.jpg'",
        'x/flow_000000_000001': "no 'x/flow_000000_000001' among the clips",
    }
    assert 'filename_tmpl' not in capsys.readouterr().out


def test_frame_folders_are_listed_once(tmp_path, monkeypatch):
    images(tmp_path / 'frames', 'a/one', 'a/two', 'b/three', count=4)
    (tmp_path / 'frames' / 'a' / 'circle').symlink_to(tmp_path / 'frames')
    journal = tmp_path / 'frames.jsonl'
    first = scan_frames(tmp_path / 'frames', journal)
    assert {path: frames.total for path, frames in first.items()} == {
        'a/one': 4,
        'a/two': 4,
        'b/three': 4,
    }
    with journal.open('a') as file:
        file.write('["a/o')  # an interrupted run
    images(tmp_path / 'frames', 'a/two', count=5)
    images(tmp_path / 'frames', 'c/four', count=1)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: listed.append(Path(path).name) or scandir(path))
    second = scan_frames(tmp_path / 'frames', journal)
    assert listed == ['frames', 'two', 'c', 'four']
    assert (second['a/two'].total, second['c/four'].total, len(second)) == (5, 1, 4)


@pytest.mark.parametrize('parts', [1, 2, 3])
def test_media_index_matches_path_suffix(parts):
    paths = ['x/y/-a [1];.MP4', 'x/y/b.tar.mp4', 'z/y/c.mp4.webm']
    index = MediaIndex(paths, ('.mp4', '.webm'))
    for path in paths:
        end = '/'.join(strip_extension(path).split('/')[-parts:])
        assert index.find(end) == path
        assert index.find(end.upper()) is None
        assert index.find('w/' + end) is None
        assert MediaIndex(paths, ('.mp4', '.webm'), fold_case=True).find(end.upper()) == path


def test_clips_with_equal_names(tmp_path, capsys):
    kinetics(tmp_path, ['training dog,a,0,1', 'training dog,b,0,1'], ['training dog,b,0,1'])
    touch(
        tmp_path / 'videos',
        'one/a_000000_000001.mp4',
        'two/a_000000_000001.mp4',
        # The class is called as a split.
        'val/training_dog/b_000000_000001.mp4',
        'train/training_dog/b_000000_000001.mp4',
        '.hidden/b_000000_000001.mp4',
    )
    out = run(tmp_path, 'kinetics400')
    assert lines(out / 'train.txt') == ['train/training_dog/b_000000_000001.mp4 0']
    assert lines(out / 'val.txt') == ['val/training_dog/b_000000_000001.mp4 0']
    assert dropped(out / 'dropped.tsv') == [
        (
            'train',
            'left out',
            'training_dog/a_000000_000001',
            "2 clips could be meant: 'one/a_000000_000001.mp4', 'two/a_000000_000001.mp4'",
        )
    ]
    assert 'train: 1 left out: 2 clips could be meant' in capsys.readouterr().out


def test_replacement_and_split_decide_between_clips():
    """Kinetics publishes replacements of clips that are broken."""
    paths = ['train/x/a.mp4', 'val/x/a.mp4', 'train/x/b.mp4', 'replacement/b.mp4', 'c/C.mp4']
    index = MediaIndex(paths, ('.mp4',))
    assert index.find('x/a', 'train') == 'train/x/a.mp4'
    assert index.find('x/a', 'val') == 'val/x/a.mp4'
    assert index.find('x/b', 'train') == 'replacement/b.mp4'
    with pytest.raises(AmbiguousClipError, match='2 clips could be meant'):
        index.find('x/a')
    assert index.find('c/c') is None
    assert MediaIndex(paths, ('.mp4',), fold_case=True).find('c/c') == 'c/C.mp4'
