"""Checking lists: every kind of bad file, the clean list, statistics, and going on."""

import json
import shutil
import sys

import pytest

from mmaction.data_preparation.integrity import inspect_video
from mmaction.datasets import UnreadableVideoError
from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.datasets.decoders import PyAVReader
from tests.video_factory import cut_video, write_broken, write_cover, write_video
from tools.data import check_videos

KINDS = ('missing', 'empty', 'text', 'directory', 'truncated', 'sound only', 'too few frames')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('clip') / 'a.mp4', num_frames=30, key_interval=10)


def run(*args):
    with pytest.raises(SystemExit) as caught:
        check_videos.main([*map(str, args), '--workers', '2', '--timeout', '30'])
    return caught.value.code


def paths(file):
    return [entry['filename'] for entry in read_list(str(file), ListFormat('filename'))]


def test_bad_and_clean_lists(tmp_path, clip, odd_names, capsys):
    for name in odd_names:
        shutil.copy(clip, tmp_path / name)
    broken = [write_broken(tmp_path / f'-bad; {kind}.mp4', kind).name for kind in KINDS]
    lines = [f'{name} {i % 2}' for i, name in enumerate([*broken, *odd_names])]
    text = '\r\n'.join(lines) + '\r\n\r\n'
    (tmp_path / 'train.txt').write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert run(tmp_path / 'train.txt') == 1
    bad = dict(line.split('\t') for line in (tmp_path / 'train.bad.txt').read_text().splitlines())
    assert sorted(bad) == sorted(str(tmp_path / name) for name in broken)
    assert 'No such file' in bad[str(tmp_path / '-bad; missing.mp4')]
    assert 'no video stream' in bad[str(tmp_path / '-bad; sound only.mp4')]
    assert paths(tmp_path / 'train.clean.txt') == list(odd_names)
    stats = json.loads((tmp_path / 'train.stats.json').read_text())
    assert (stats['videos'], stats['bad']) == (len(odd_names), len(KINDS))
    assert stats['codec'] == {'h264': len(odd_names)}
    assert stats['size'] == {'128x80': len(odd_names)}
    assert stats['key_frame_spacing'] == {'min': 10, 'median': 10, 'max': 10}
    assert stats['frames']['max'] == 30
    assert stats['fps']['median'] == 25
    assert stats['seconds']['min'] == 1.2
    out, err = capsys.readouterr()
    assert f'{len(odd_names)} videos can be read, {len(KINDS)} cannot' in out
    assert f'{len(KINDS)} bad videos, listed in' in err


def test_decord_is_not_needed(tmp_path, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, 'decord', None)
    shutil.copy(clip, tmp_path)
    assert run(tmp_path, '--out', tmp_path / 'out') == 0


def test_quick_check_finds_truncated_files(tmp_path, clip, monkeypatch):
    asked = []
    read = PyAVReader.get_batch
    monkeypatch.setattr(
        PyAVReader, 'get_batch', lambda self, inds: asked.append(list(inds)) or read(self, inds)
    )
    assert inspect_video(str(clip), True)['frames'] == 30
    assert asked == [[0, 15, 29]]
    for kind in ('truncated', 'zeros', 'sound only', 'no frames'):
        with pytest.raises(UnreadableVideoError):
            inspect_video(str(write_broken(tmp_path / f'{kind}.mp4', kind)), True)


def test_unchanged_videos_are_not_reread(tmp_path, clip, monkeypatch):
    for name in ('a.mp4', 'b.mp4'):
        shutil.copy(clip, tmp_path / name)
    (tmp_path / 'list.json').write_text(
        '[{"filename": "a.mp4", "label": [0], "x": 1}, {"filename": "b.mp4", "label": [1]}]'
    )
    assert run(tmp_path / 'list.json', '--out', tmp_path / 'out') == 0
    with (tmp_path / 'out' / 'list.videos.jsonl').open('a') as journal:
        journal.write('{"path": "a.mp4", "st')  # an interrupted run
    read = []
    inspect = inspect_video
    monkeypatch.setattr(
        'mmaction.data_preparation.jobs.run_jobs',
        lambda function, jobs, **_: [
            read.append(job) or (job, inspect(job, False), None) for job in jobs
        ],
    )
    assert run(tmp_path / 'list.json', '--out', tmp_path / 'out') == 0
    assert read == []
    write_video(tmp_path / 'b.mp4', num_frames=20)
    assert run(tmp_path / 'list.json', '--out', tmp_path / 'out') == 0
    assert read == [str(tmp_path / 'b.mp4')]
    stats = json.loads((tmp_path / 'out' / 'list.stats.json').read_text())
    assert stats['frames'] == {'min': 20, 'median': 25, 'max': 30}
    entries = json.loads((tmp_path / 'out' / 'list.clean.json').read_text())
    assert entries == json.loads((tmp_path / 'list.json').read_text())


def test_a_folder_without_videos_and_a_missing_list_are_errors(tmp_path, capsys):
    assert run(tmp_path) == 1
    assert 'there are no videos' in capsys.readouterr().err
    assert run(tmp_path / 'no.txt') == 1
    assert 'there is no list or folder' in capsys.readouterr().err


def test_nothing_is_written_into_a_folder_of_videos(tmp_path, clip, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    videos = tmp_path / 'my clips'
    (videos / 'run').mkdir(parents=True)
    shutil.copy(clip, videos / 'run' / 'a.mp4')
    write_broken(videos / 'run' / 'b.mp4', 'text')
    assert run('my clips') == 1
    out, err = capsys.readouterr()
    assert '1 video can be read, 1 cannot; written: work_dirs/check_my clips/videos.*' in out
    assert '1 bad videos, listed in work_dirs/check_my clips/videos.bad.txt' in err
    assert sorted(path.name for path in videos.rglob('*')) == ['a.mp4', 'b.mp4', 'run']
    # what predict takes, wherever the list lies
    clean = tmp_path / 'work_dirs' / 'check_my clips' / 'videos.clean.txt'
    assert clean.read_text() == f'{videos / "run" / "a.mp4"}\n'
    assert run('my clips', '--out', 'here') == 1
    assert (tmp_path / 'here' / 'videos.bad.txt').exists()


def test_cut_video_is_counted_as_it_is_shown(tmp_path):
    whole = write_video(tmp_path / 'whole.mp4', num_frames=60, key_interval=20, b_frames=2)
    facts = inspect_video(str(cut_video(whole, tmp_path / 'cut.mp4', 30)), False)
    assert facts['frames'] == 30
    assert facts['remark'].startswith('1')
    assert 'more frames are hidden: it was cut without re-encoding' in facts['remark']


def test_cover_is_not_what_is_checked(tmp_path):
    whole = write_video(tmp_path / 'whole.mp4', num_frames=20)
    facts = inspect_video(str(write_cover(tmp_path / 'a.mp4', whole)), False)
    assert (facts['size'], facts['frames'], facts['codec']) == ('128x80', 20, 'h264')


def test_path_without_extension(tmp_path, clip):
    """`.mp4` is added only if there is no such file."""
    shutil.copy(clip, tmp_path / 'plain')
    shutil.copy(clip, tmp_path / 'named.mp4')
    for name in ('plain', 'named'):
        assert inspect_video(str(tmp_path / name), True)['frames'] == 30
