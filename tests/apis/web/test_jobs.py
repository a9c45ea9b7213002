"""Folders that killed servers leave, and the addresses for scripts."""

import multiprocessing
import os
import tempfile
import threading
import time

import pytest

from mmaction.apis.web.jobs import KEPT, Jobs, remove_leftovers
from tests.apis.web_site import LIMITS, Site, fake_check, fake_explain
from tests.video_factory import write_video


def run_server(channel):
    """What a server does that is killed in the middle of an upload."""
    jobs = Jobs(fake_explain, fake_check, LIMITS)
    (jobs.open('x').folder / 'upload.video').write_text('x')
    channel.send(str(jobs.root))
    time.sleep(600)


def test_next_start_clears_what_a_killed_server_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    other = tmp_path / 'dualformer-web-file'
    other.write_text('no folder')
    kept = tmp_path / 'kept'
    kept.mkdir()
    (tmp_path / 'dualformer-web-link').symlink_to(kept)
    context = multiprocessing.get_context('fork')
    mine, its = context.Pipe()
    process = context.Process(target=run_server, args=(its,), daemon=True)
    process.start()
    root = mine.recv()
    try:
        jobs = Jobs(fake_explain, fake_check, LIMITS)
        assert os.path.isdir(root)  # a living server's
        remove_leftovers()
        assert jobs.root.is_dir()  # nor our own
        process.kill()
        process.join()
        assert os.path.isfile(f'{root}/{os.listdir(root)[0]}/upload.video')
        second = Jobs(fake_explain, fake_check, LIMITS)
        assert not os.path.exists(root)
        assert jobs.root.is_dir()
        jobs.close()
        second.close()
        names = sorted(p.name for p in tmp_path.iterdir())
        assert names == ['dualformer-web-file', 'dualformer-web-link', 'kept']
    finally:
        process.kill()
        process.join()


def test_health_and_retry_after(tmp_path):
    clip = write_video(tmp_path / 'a.mp4', 20, 64, 48, fps=10)
    release = threading.Event()

    def explain(video, folder, progress):
        assert release.wait(30)
        return {}

    with Site(explain, [('one', clip)]) as site:
        assert site.ask('GET', '/health')[:2] == (200, dict(status='ok', clips=0))
        keys = [site.ask('POST', '/api/examples/0')[1]['id'] for _ in range(2)]
        assert site.ask('GET', '/health')[1]['clips'] == 2
        for answer in (site.ask('POST', '/api/examples/0'), site.send(clip.read_bytes())):
            assert (answer[0], answer[2]['Retry-After']) == (503, '20')
        release.set()
        for key in keys:
            site.finished(key)
        assert site.ask('GET', '/health')[:2] == (200, dict(status='ok', clips=0))
        site.jobs._queue.put(None)
        site.jobs._thread.join()
        status, answer, _ = site.ask('GET', '/health')
        assert (status, answer['status'][:20]) == (503, 'the worker has ended')


def test_damaged_example_is_said_at_the_start(tmp_path):
    path = tmp_path / 'bad.mp4'
    path.write_text('no video')
    with pytest.raises(ValueError, match=r'bad\.mp4'):
        Site(examples=[('bad', path)])


def finished(jobs, job):
    jobs.start(job)
    end = time.monotonic() + 30
    while job.state not in ('done', 'failed'):
        assert time.monotonic() < end
        time.sleep(0.01)
    return job


@pytest.mark.parametrize('kind', [ValueError, OSError])
def test_messages_name_neither_the_temporary_folder_nor_the_upload(kind):
    def explain(video, folder, progress):
        raise kind(f'{video}: damaged; {folder}/part.jpg is missing below {jobs.root}')

    jobs = Jobs(explain, fake_check, LIMITS)
    try:
        job = jobs.open('holiday.mp4')
        job.video.write_bytes(b'x')
        error = finished(jobs, job).error
        assert job.state == 'failed'
        assert error.startswith('holiday.mp4 cannot be read as a video: damaged')
        assert str(jobs.root) not in error
        assert 'dualformer-web-' not in error
        assert tempfile.gettempdir() not in error
    finally:
        jobs.close()


def test_results_live_a_quarter_of_an_hour(tmp_path, monkeypatch):
    clip = write_video(tmp_path / 'a.mp4', 20, 64, 48, fps=10)
    jobs = Jobs(fake_explain, fake_check, LIMITS)
    try:
        job = finished(jobs, jobs.open('a', clip))
        start = time.monotonic()
        monkeypatch.setattr('mmaction.apis.web.jobs.time.monotonic', lambda: start + 14 * 60)
        jobs._clean(KEPT)
        assert job.id in jobs._jobs
        monkeypatch.setattr('mmaction.apis.web.jobs.time.monotonic', lambda: start + 16 * 60)
        jobs._clean(KEPT)
        assert jobs.get(job.id) is None
        assert not job.folder.exists()
    finally:
        jobs.close()
