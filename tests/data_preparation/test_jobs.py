"""Jobs over files: what a bad file, a crash, a hang or an interruption leaves behind."""

import faulthandler
import os
import time

import pytest

from mmaction.data_preparation import jobs as file_jobs
from mmaction.datasets.decoders import PyAVReader
from mmaction.errors import UnreadableVideoError
from tests.video_factory import frame_number, write_video


def work(job):
    if job == 'bad':
        raise UnreadableVideoError('bad', 'it is\nbad')
    if job == 'hang':
        time.sleep(60)
    if job == 'crash' or job[0] == 'crash':
        faulthandler.disable()
        os.abort()
    if job[0] == 'slow':
        time.sleep(2)
    if job == 'bug':
        raise OSError('disk full')
    return os.getpid()


def run(jobs, workers=2, timeout=5):
    outcomes = file_jobs.run_jobs(work, jobs, workers=workers, timeout=timeout, title='test')
    return {outcome.job: outcome for outcome in outcomes}


def test_corrupt_crashing_and_hanging_files_do_not_stop_the_others():
    assert run(['hang', 'a'], timeout=2)['hang'].reason == 'reading it took longer than 2 s'
    done = run(['a', 'bad', 'crash', 'b', 'c'], timeout=60)
    assert done['bad'].reason == 'it is bad'
    assert done['crash'].reason == 'reading it crashed (SIGABRT)'
    assert [done[name].reason for name in 'abc'] == [None] * 3
    assert os.getpid() not in [done[name].result for name in 'abc']
    assert run([]) == {}


def test_crashes_at_the_same_time_are_seen_at_once(monkeypatch):
    """A child that is forked meanwhile must not keep the socket of one that crashes."""
    fork = os.fork
    monkeypatch.setattr(os, 'fork', lambda: time.sleep(0.1) or fork())
    # Four new children at once take the last four.
    jobs = [('crash', number) for number in range(6)] + [('slow', 1), ('slow', 2)]
    done = run(jobs, workers=4, timeout=20)
    assert set(list(done)[:6]) == set(jobs[:6])
    assert {done[job].reason for job in jobs[:6]} == {'reading it crashed (SIGABRT)'}


def test_unexpected_error_stops_all_jobs():
    start = time.monotonic()
    with pytest.raises(OSError, match='disk full'):
        run(['hang', 'bug'], timeout=50)
    outcomes = file_jobs.run_jobs(work, ['a', 'hang'], workers=2, timeout=50, title='test')
    assert next(outcomes).job == 'a'
    outcomes.close()
    assert time.monotonic() - start < 20


def test_files_are_found_once_and_others_counted(tmp_path):
    for name in ('b/-1.MP4', 'a/2.mp4', 'a/._2.mp4', 'a/x.txt', '.hidden/3.mp4', 'out/4.mp4', 'no'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'a' / 'loop').symlink_to(tmp_path)
    (tmp_path / 'elsewhere').symlink_to(tmp_path / 'b')
    found, others = file_jobs.find_files(tmp_path, ['.mp4'], without=[tmp_path / 'out'])
    assert found in (['a/2.mp4', 'b/-1.MP4'], ['a/2.mp4', 'elsewhere/-1.MP4'])
    assert others == {'.txt': 1, '': 1}
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        file_jobs.find_files(tmp_path / 'nowhere', ['.mp4'])


def test_files_that_are_no_videos_are_noted(tmp_path, capsys):
    for name in ('a.gif', 'b.GIF', 'c.asf', 'list.txt', 'no'):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r'no videos in .* \(found: .*2 \.gif'):
        file_jobs.find_videos(tmp_path)
    (tmp_path / 'd.mp4').touch()
    capsys.readouterr()
    assert file_jobs.find_videos(tmp_path) == ['d.mp4']
    note = capsys.readouterr().err.splitlines()[-1]
    assert note.startswith('note: other files were left out: ')
    assert all(each in note for each in ('2 .gif', '1 .asf', '1 without extension'))
    assert '.txt' not in note


def test_outdated_and_missing_outputs_are_rebuilt(tmp_path):
    videos, out = tmp_path / 'videos', tmp_path / 'videos' / 'out'
    out.mkdir(parents=True)
    for name in ('a.avi', 'b.mp4', 'c.mp4'):
        (videos / name).touch()
    for name, seconds in (('a.mp4', 60), ('b.mp4', -60)):
        (out / name).touch()
        stamp = time.time() + seconds
        os.utime(out / name, (stamp, stamp))
    pairs, done = file_jobs.find_work(videos, out, '.mp4', False)
    assert pairs == [(str(videos / name), str(out / name)) for name in ('b.mp4', 'c.mp4')]
    assert done == 1
    assert len(file_jobs.find_work(videos, out, '.mp4', True)[0]) == 3
    (videos / 'a.mp4').touch()
    with pytest.raises(ValueError, match=r"'a.avi' and 'a.mp4' would both become 'a.mp4'"):
        file_jobs.find_work(videos, out, '.mp4', False)
    with pytest.raises(ValueError, match='holds the videos themselves'):
        file_jobs.find_work(videos, videos, '.mp4', False)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no videos'):
        file_jobs.find_work(tmp_path / 'empty', out, '.mp4', False)


def test_settings_of_another_run_are_an_error(tmp_path):
    file = tmp_path / 'settings.json'
    file_jobs.check_settings(file, {'side': 256}, False)
    file_jobs.check_settings(file, {'side': 256}, False)
    with pytest.raises(ValueError, match=r"made with \{'side': 256\}.*--overwrite"):
        file_jobs.check_settings(file, {'side': 320}, False)
    file_jobs.check_settings(file, {'side': 320}, True)
    file_jobs.check_settings(file, {'side': 320}, False)


def test_frame_chunks_cover_every_frame_once(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'clip.mp4', num_frames=150)
    sizes = []
    for limit in (1 << 28, 1):
        monkeypatch.setattr(file_jobs, '_CHUNK_BYTES', limit)
        chunks = list(file_jobs.frame_chunks(PyAVReader(str(path))))
        assert [frame_number(frame) for chunk in chunks for frame in chunk] == list(range(150))
        sizes.append([len(chunk) for chunk in chunks])
    assert sizes == [[64, 64, 22], [1] * 150]


def test_failure_list_replaces_the_previous_one(tmp_path, capsys):
    file = tmp_path / 'failures.txt'
    file_jobs.report_failures({f'a\n{n:02}\udcff': 'why' for n in range(30)}, file, 'videos')
    lines = file.read_bytes().splitlines()
    assert lines[0] == b'a\\n00\xff\twhy'
    assert len(lines) == 30
    shown = capsys.readouterr().err
    assert shown.startswith(f'30 videos, listed in {file}:\n  a\\n00\\udcff: why\n')
    assert shown.endswith('and 10 more\n')
    file_jobs.report_failures({}, file, 'videos')
    assert not file.exists()
