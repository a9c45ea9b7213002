"""What all preparations of datasets share: accounts of every row, checks, going on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mmaction.data_preparation.media_index import MediaIndex, scan_frames
from mmaction.data_preparation.schema import strip_extension
from mmaction.datasets.decoders import DefaultReader
from tests.data_preparation.preparing import dropped, images, lines, put, run, table, touch
from tests.video_factory import frame_number, write_broken, write_video
from tools.data import prepare

ROOT = Path(__file__).parents[2]
HEAD = 'label,youtube_id,time_start,time_end'


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('clip') / 'a.mp4', num_frames=30, key_interval=10)


def kinetics(root, train, val=None):
    val = val or [train[0].partition(',')[0] + ',val0,0,10']
    put(
        root / 'annotations',
        {
            'train.csv': '\n'.join([HEAD, *train]) + '\n',
            'validate.csv': '\n'.join([HEAD, *val]) + '\n',
        },
    )


def fails(capsys, root, *options, dataset='kinetics400'):
    with pytest.raises(SystemExit) as caught:
        run(root, dataset, *options)
    assert caught.value.code
    return capsys.readouterr().err


def test_check_lists_unreadable_clips_and_continues(tmp_path, capsys, clip, monkeypatch):
    kinetics(tmp_path, [f'a,id{i},0,10' for i in range(4)])
    videos = tmp_path / 'videos'
    videos.mkdir()
    for name in ('id0', 'id1', 'val0'):
        shutil.copy(clip, videos / f'{name}_000000_000010.mp4')
    write_broken(videos / 'id2_000000_000010.mp4', 'truncated')
    out = run(tmp_path, 'kinetics400', '--check')
    assert lines(out / 'train.txt') == ['id0_000000_000010.mp4 0', 'id1_000000_000010.mp4 0']
    broken, missing = dropped(out / 'dropped.tsv')
    assert broken[:3] == ('train', 'unreadable', 'id2_000000_000010.mp4')
    assert broken[3]
    assert missing[:3] == ('train', 'missing', 'a/id3_000000_000010')
    assert table(out / 'summary.txt')['train'] == ['246534', '4', '-246530', '2', '1', '1', '0']
    # A run that was stopped has left half a line; the next one reads what is new or bad.
    with (out / 'checked.jsonl').open('a') as journal:
        journal.write('{"path": "id0')
    read = []
    jobs = 'mmaction.data_preparation.integrity.run_jobs'
    monkeypatch.setattr(
        jobs, lambda function, todo, **_: [(read.append(job) or (job, {}, None)) for job in todo]
    )
    shutil.copy(clip, videos / 'id3_000000_000010.mp4')
    run(tmp_path, 'kinetics400', '--check')
    assert sorted(Path(name).name[:3] for name in read) == ['id2', 'id3']
    assert len(lines(out / 'train.txt')) == 4
    assert not (out / 'dropped.tsv').exists()


def test_check_of_frames_and_images(tmp_path):
    frames = tmp_path / 'videos'
    good = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    put(frames, {f'{name}/img_{i:05}.jpg': good for name in ('a', 'b', 'val') for i in (1, 2, 3)})
    put(frames, {'b/img_00002.jpg': b''})
    put(frames, {f'c/img_{i:05}.jpg': good[:20] if i == 2 else good for i in range(1, 5)})
    kinetics(tmp_path, ['x,a,0,1', 'x,b,0,1', 'x,c,0,1'], ['x,val,0,1'])
    out = run(tmp_path, 'kinetics400', '--frames', '--check')
    assert lines(out / 'train_rawframes.txt') == ['a 3 0']
    assert [(row[1], row[2], row[3]) for row in dropped(out / 'dropped_rawframes.tsv')] == [
        ('unreadable', name, 'img_00002.jpg is no image that can be read') for name in 'bc'
    ]
    # The middle image of four is the third.
    run(tmp_path, 'kinetics400', '--frames', '--check', '--quick', '--out', tmp_path / 'quick')
    assert lines(tmp_path / 'quick' / 'train_rawframes.txt') == ['a 3 0', 'c 4 0']
    put(
        tmp_path / 'annotations',
        {
            'k200_actions.txt': 'x\n',
            'k200_train.txt': 'a 0\n',
            'k200_val.txt': 'b 0\n',
            'webimage_200.txt': 'c/img_00001 0\nc/img_00002 0\n',
        },
    )
    web = tmp_path / 'web'
    run(tmp_path, 'omnisource', '--check', '--out', web)
    assert lines(web / 'web_image.txt') == ['c/img_00001.jpg 0']
    assert not (web / 'train.txt').exists()


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


def test_each_clip_is_listed_once(tmp_path):
    kinetics(tmp_path, ['x,a,0,1', 'x,a,0,1', 'y,b,0,1'], ['x,val0,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4', 'b_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0', 'b_000000_000001.mp4 1']
    (_, status, name, reason), _ = dropped(out / 'dropped.tsv')
    assert (status, name) == ('left out', 'a_000000_000001.mp4')
    assert reason.endswith('train.csv:2 already')


def test_custom_class_order(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1', 'y,b,0,1'], ['y,c,0,1'])
    touch(tmp_path / 'videos', *(f'{name}_000000_000001.mp4' for name in 'abc'))
    file = tmp_path / 'names.txt'
    file.write_text('y\r\nx\r\n')
    out = run(tmp_path, 'kinetics400', '--classes', file)
    assert lines(out / 'classes.txt') == ['y', 'x']
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 1', 'b_000000_000001.mp4 0']
    assert f'in the order of that of {file}' in capsys.readouterr().out
    file.write_text('y\nz\n')
    assert "not the classes of the annotation: 'x' is in one of them only" in fails(
        capsys, tmp_path, '--classes', file
    )
    file.write_text('y\nx\nx\n')
    assert 'a class is there twice' in fails(capsys, tmp_path, '--classes', file)


def test_foreign_lists_are_not_overwritten(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'], ['x,c,0,1'])
    touch(tmp_path / 'videos', *(f'{name}_000000_000001.mp4' for name in 'abc'))
    put(tmp_path / 'out', {'classes.txt': 'mine\n'})
    assert 'holds lists that were made otherwise' in fails(capsys, tmp_path)
    assert lines(tmp_path / 'out' / 'classes.txt') == ['mine']
    (tmp_path / 'out' / 'classes.txt').unlink()
    put(tmp_path / 'out', {'val.txt': 'mine 0\n'})
    assert 'lists that were made otherwise (val.txt)' in fails(capsys, tmp_path)
    assert lines(tmp_path / 'out' / 'val.txt') == ['mine 0']
    out = run(tmp_path, 'kinetics400', '--overwrite')
    assert lines(out / 'classes.txt') == ['x']
    error = fails(capsys, tmp_path, dataset='kinetics700')
    assert "was made with {'dataset': 'kinetics400'}" in error
    # More clips on the disk are no reason to ask.
    kinetics(tmp_path, ['x,a,0,1', 'x,b,0,1'], ['x,c,0,1'])
    run(tmp_path, 'kinetics400')
    assert len(lines(out / 'train.txt')) == 2
    # A list that has no clip any more does not stay.
    (tmp_path / 'videos' / 'c_000000_000001.mp4').unlink()
    run(tmp_path, 'kinetics400')
    assert not (out / 'val.txt').exists()
    kinetics(tmp_path, ['x,a,0,1', 'y,b,0,1'], ['x,c,0,1'])
    assert 'has other classes' in fails(capsys, tmp_path)
    assert len(lines(out / 'train.txt')) == 2


def test_wrong_folder_is_reported(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    assert "there is no folder '" + str(tmp_path / 'videos') in fails(capsys, tmp_path)
    (tmp_path / 'videos').mkdir()
    assert 'add --frames' in fails(capsys, tmp_path)
    assert 'there are no folders of images' in fails(capsys, tmp_path, '--frames')
    touch(tmp_path / 'videos', 'other.mp4')
    error = fails(capsys, tmp_path)
    assert "looked for names such as 'x/a_000000_000001', 'x/val0_000000_000010'" in error
    assert "found 'other.mp4'" in error
    assert not (tmp_path / 'out' / 'classes.txt').exists()
    error = fails(capsys, tmp_path, '--annotations', tmp_path / 'nowhere')
    assert '(--annotations)' in error
    error = fails(capsys, tmp_path, '--annotations', tmp_path / 'videos')
    assert 'there is no train.csv or validate.csv in' in error
    assert 'docs/data_preparation.md' in error


def test_lists_are_kept_if_no_clip_is_readable(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    error = fails(capsys, tmp_path, '--check')
    assert "no clip can be read, starting with 'a_000000_000001.mp4': " in error
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0']


def test_duplicate_file_is_reported(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    put(tmp_path / 'annotations', {'one/test.csv': '', 'two/test.csv': ''})
    touch(tmp_path / 'videos', 'a_000000_000001.mp4')
    error = fails(capsys, tmp_path)
    assert "one/test.csv' and '" in error
    assert 'could both be meant' in error


def test_unlistable_file_name_is_reported(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'moments_categories.txt': 'x,0\n',
            'trainingSet.csv': 'x/a 7,0\n',
            'validationSet.csv': 'x/b,0\n',
        },
    )
    images(tmp_path / 'videos', 'x/a 7', 'x/b')
    error = fails(capsys, tmp_path, '--frames', dataset='mmit')
    assert "'x/a 7' cannot stand in a list, where it reads as 'x/a': rename it" in error


def test_trim_cuts_annotated_segments(tmp_path, capsys):
    segments = [[0.4, 1.2], [1.5, 9.0], [5.0, 6.0]]
    put(
        tmp_path / 'annotations',
        {
            'activity_net.v1-3.min.json': {
                'database': {
                    name: {
                        'duration': 2.0,
                        'subset': subset,
                        'annotations': [{'segment': s, 'label': 'x'} for s in segments[:count]],
                    }
                    for name, subset, count in (
                        ('one', 'training', 3),
                        ('bad', 'training', 1),
                        ('odd', 'validation', 1),
                        ('gone', 'validation', 1),
                    )
                }
            }
        },
    )
    videos = tmp_path / 'videos'
    videos.mkdir()
    write_video(videos / 'v_one.mp4', num_frames=50, width=130, key_interval=12, b_frames=2)
    write_video(videos / 'odd.mkv', num_frames=50, codec='mpeg4', durations=[1, 2])
    write_broken(videos / 'v_bad.mp4', 'truncated')
    options = ('--trim', '--class-order', 'alphabetical')
    out = run(tmp_path, 'activitynet', *options)
    names = ['clips/v_one_0000400_0001200.mp4', 'clips/v_one_0001500_0002000.mp4']
    assert lines(out / 'train.txt') == [f'{name} 0' for name in names]
    for name, first, last in zip(names, (10, 38), (29, 49), strict=True):
        reader = DefaultReader(str(videos / name))
        assert abs(reader.get_avg_fps() - 25) < 1
        numbers = [frame_number(image) for image in reader.get_batch(range(len(reader)))]
        reader.close()
        assert numbers == list(range(first, last + 1))
        with av.open(str(videos / name)) as container:
            assert next(container.decode(video=0)).time == 0
    assert lines(out / 'val.txt') == ['clips/v_odd_0000400_0001200.mp4 0']
    told = {row[2]: row[1:] for row in dropped(out / 'dropped.tsv')}
    status, _, reason = told['v_bad_0000400_0001200']
    assert (status, reason.startswith('cutting it failed: ')) == ('unreadable', True)
    assert told['v_one_0005000_0002000'][2] == 'its segment is empty'
    assert told['v_gone_0000400_0001200'][2] == "no 'v_gone' among the videos"
    assert sorted(path.name for path in (videos / 'clips').iterdir()) == [
        'v_odd_0000400_0001200.mp4',
        *(Path(name).name for name in names),
    ]
    # Again: nothing to cut but what failed.
    before = {path.name: path.stat().st_mtime_ns for path in (videos / 'clips').iterdir()}
    run(tmp_path, 'activitynet', *options)
    assert before == {path.name: path.stat().st_mtime_ns for path in (videos / 'clips').iterdir()}


def test_conflicting_options_are_errors(tmp_path, capsys):
    assert '--quick is for --check' in fails(capsys, tmp_path, '--quick')
    assert '--trim is for videos of activitynet' in fails(capsys, tmp_path, '--trim')
    error = fails(capsys, tmp_path, '--classes', 'x', '--class-order', 'alphabetical')
    assert 'exclude each other' in error
    error = fails(capsys, tmp_path, '--class-order', 'alphabetical', dataset='hvu')
    assert 'has no other order of classes than mmaction2' in error


def test_command_works_from_any_folder(tmp_path):
    kinetics(tmp_path, ['x,-a,0,1'], ['x,b,0,1'])
    touch(tmp_path / 'videos', '-a_000000_000001.mp4', 'b_000000_000001.mp4')
    command = [sys.executable, ROOT / 'tools' / 'data' / 'prepare.py', 'kinetics400']
    for name in ('annotations', 'videos', 'out'):
        command += [f'--{name}', name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'look for files: 2file' in done.stderr
    assert lines(tmp_path / 'out' / 'train.txt') == ['-a_000000_000001.mp4 0']
    assert json.loads((tmp_path / 'out' / 'prepare.json').read_text()) == {'dataset': 'kinetics400'}
    assert set(prepare.DATASETS.values()) == {
        path.stem for path in ROOT.glob('mmaction/data_preparation/readers/[a-z]*.py')
    }
