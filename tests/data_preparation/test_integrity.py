import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmaction.data_preparation.integrity import Journal, check_clips
from mmaction.utils.work_share import WorkShare
from tests.data_preparation.preparing import dropped, kinetics, lines, put, run, table
from tests.video_factory import write_broken, write_video


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('clip') / 'a.mp4', num_frames=30, key_interval=10)


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


def test_journal_knows_a_file_as_it_was_checked(tmp_path):
    video = tmp_path / 'a.mp4'
    video.write_bytes(b'content')
    file = tmp_path / 'checked.jsonl'

    def known(quick):
        journal = Journal(file, quick)
        journal.close()
        return list(journal.facts)

    for quick, to_quick, to_full in ((True, 1, 0), (False, 1, 1)):
        journal = Journal(file, quick)
        journal.add(str(video), {})
        journal.close()
        assert (len(known(True)), len(known(False))) == (to_quick, to_full)
    # Another content of the same length is another file.
    os.utime(video, (1, 1))
    assert known(True) == []
    video.unlink()
    assert known(True) == []


def test_a_share_reads_its_own_clips(tmp_path):
    image = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    put(tmp_path, {f'{number}.jpg': image for number in range(4)} | {'5.jpg': b'', '6.jpg': b''})
    clips = dict.fromkeys(sorted(path.name for path in tmp_path.iterdir()))
    read, bad = [], {}
    for share in (WorkShare(0, 2), WorkShare(1, 2)):
        journal = tmp_path / f'{share.index}.jsonl'
        bad |= check_clips(
            clips,
            folder=tmp_path,
            journal_file=journal,
            quick=False,
            workers=1,
            timeout=30,
            share=share,
        )
        (found,) = tmp_path.glob(f'{share.index}-*.jsonl')
        read += [Path(json.loads(line)['path']).name for line in lines(found)]
    assert sorted(read) == [f'{number}.jpg' for number in range(4)]
    assert sorted(bad) == ['5.jpg', '6.jpg']


def test_check_of_frames_and_images(tmp_path):
    frames = tmp_path / 'videos'
    good = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    put(frames, {f'{name}/img_{i:05}.jpg': good for name in ('a', 'b', 'val') for i in (1, 2, 3)})
    put(frames, {'b/img_00002.jpg': b''})
    put(frames, {f'c/img_{i:05}.jpg': good[:20] if i == 2 else good for i in range(1, 5)})
    put(frames, {f'd/img_{i:05}.jpg': good[:20] if i == 4 else good for i in range(1, 5)})
    kinetics(tmp_path, [f'x,{name},0,1' for name in 'abcd'], ['x,val,0,1'])
    out = run(tmp_path, 'kinetics400', '--frames', '--check')
    assert lines(out / 'train_rawframes.txt') == ['a 3 0']
    assert [(row[1], row[2], row[3]) for row in dropped(out / 'dropped_rawframes.tsv')] == [
        ('unreadable', name, f'img_0000{number}.jpg is no image that can be read')
        for name, number in (('b', 2), ('c', 2), ('d', 4))
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
