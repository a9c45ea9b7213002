"""The server of the page: what it takes, what it gives, and what it keeps to itself."""

import http.client
import io
import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from mmaction.apis.web.jobs import KEPT, Jobs
from mmaction.apis.web.server import plain_name
from tests.apis.web_site import LIMITS, Site, fake_check, fake_explain
from tests.video_factory import write_video


@pytest.fixture
def site():
    with Site() as site:
        yield site


def test_upload_is_classified_then_deleted(site, clip):
    status, answer, _ = site.send(clip.read_bytes(), 'my%20holiday.mp4')
    assert status == 202
    key = answer['id']
    job = site.finished(key)
    assert job['state'] == 'done', job
    assert job['name'] == 'my holiday.mp4'
    assert job['result']['size'] == clip.stat().st_size
    video = job['result']['video']
    assert video == dict(width=64, height=48, fps=10, seconds=2)
    status, picture, headers = site.ask('GET', f'/api/jobs/{key}/clip.jpg')
    assert (status, headers['Content-Type'], headers['Cache-Control']) == (
        200,
        'image/jpeg',
        'no-store',
    )
    assert Image.open(io.BytesIO(picture)).size == (4, 4)
    # the upload is gone, and with the page's last word the rest
    assert [p.name for p in site.jobs.root.rglob('*') if p.is_file()] == ['clip.jpg']
    assert site.ask('POST', f'/api/jobs/{key}/drop')[0] == 204
    assert list(site.jobs.root.iterdir()) == []
    status, answer, _ = site.ask('GET', f'/api/jobs/{key}')
    assert (status, answer['error'][:26]) == (404, 'This result is no longer k')


def test_pages_and_their_headers(site):
    for path, text in (('/', b'<h1>'), ('/page.js', b'use strict'), ('/page.css', b'--ink')):
        status, content, headers = site.ask('GET', path)
        assert status == 200
        assert text in content
        assert "default-src 'self'" in headers['Content-Security-Policy']
        assert b'http' not in content.replace(b'://www.w3.org', b'')  # nothing from elsewhere
    assert site.ask('GET', '/api/info')[1] == dict(
        title='a model', examples=[], megabytes=0.3, seconds=3.0
    )


@pytest.mark.parametrize(
    'path',
    [
        '/../../../etc/passwd',
        '/..%2f..%2f..%2fetc%2fpasswd',
        '/%2e%2e/%2e%2e/etc/passwd',
        '//etc/passwd',
        '/page.css/../uploads.py',
        '/page.css%00.py',
        '/server.py',
        '/file=/etc/passwd',
        '/gradio_api/file=/etc/passwd',
        '/api/jobs/KEY/../../etc/passwd',
        '/api/jobs/KEY/..%2fsecret.txt',
        '/api/jobs/KEY/%2e%2e%2fsecret.txt',
        '/api/jobs/KEY/..%5csecret.txt',
        '/api/jobs/KEY/%2fetc%2fpasswd',
        '/api/jobs/KEY/upload.video',
        '/api/jobs/KEY/..',
        '/api/jobs/../secret.txt',
        '/api/jobs/.',
        '/api/examples/-1',
        '/api/examples/0',
    ],
)
def test_path_traversal_is_refused(path):
    with Site() as site:
        job = site.jobs.open('x')
        fake_explain(Path(__file__), job.folder, lambda *_: None)
        job.state = 'done'
        (site.jobs.root / 'secret.txt').write_text('root: secret')
        assert site.ask('GET', f'/api/jobs/{job.id}/clip.jpg')[0] == 200
        status, content, _ = site.ask('GET', path.replace('KEY', job.id))
        assert status in (400, 404, 405), path
        assert 'root' not in str(content)


def test_uploaded_file_name_is_never_a_path(site, clip):
    for name in ('..%2f..%2fetc%2fpasswd', 'C:%5cx%5cpasswd', '%2fetc%2fpasswd'):
        job = site.finished(site.send(clip.read_bytes(), name)[1]['id'])
        assert (job['state'], job['name']) == ('done', 'passwd')
    assert plain_name('a/b\x00\n<b>.mp4') == 'b\x00\n<b>.mp4'.replace('\x00', '').replace('\n', '')
    assert plain_name('') == 'the file'
    assert len(plain_name('x' * 300)) == 80


@pytest.mark.parametrize(
    ('data', 'sentence'),
    [
        (b'', 'a.mp4 is empty.'),
        (b'hello' * 50, 'a.mp4 is not a video that this page can read (MP4, '),
        (b'#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n' * 9, 'a.mp4 is not a video'),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n" * 9, 'a.mp4 is not a video'),
        (b'<MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>', 'a.mp4 is not a video'),
        (b'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n', 'a.mp4 is not a video'),
        (b'\x00\x00\x00\x18ftypmp42' + b'\x00' * 200, 'a.mp4 is damaged or incomplete'),
    ],
)
def test_upload_that_is_no_video_returns_message(site, data, sentence):
    job = site.finished(site.send(data)[1]['id'])
    assert job['state'] == 'failed'
    assert job['error'].startswith(sentence)
    assert str(site.jobs.root) not in job['error']
    assert not [p for p in site.jobs.root.rglob('*') if p.is_file()]


def test_corrupt_video_and_internal_error_return_messages(clip, capsys):
    def explain(video, folder, progress):
        raise error(f'{video}: no frame 3')

    with Site(explain) as site:
        error = ValueError
        job = site.finished(site.send(clip.read_bytes())[1]['id'])
        assert job['error'] == 'a.mp4 cannot be read as a video: no frame 3.'
        error = RuntimeError
        job = site.finished(site.send(clip.read_bytes())[1]['id'])
        assert job['error'] == 'a.mp4 could not be worked on (RuntimeError).'
    assert 'no frame 3' in capsys.readouterr().err


def test_limits(site, tmp_path):
    large = b'\x00' * 300_001
    status, answer, _ = site.send(large)
    assert (status, answer['error']) == (
        413,
        'a.mp4 is larger than the 0.3 MB that this page takes.',
    )
    # in pieces, without a length told before
    connection = http.client.HTTPConnection('127.0.0.1', site.port)
    connection.request('POST', '/api/jobs?name=b', iter([large[:200_000]] * 2), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert not list(site.jobs.root.iterdir())
    long = write_video(tmp_path / 'long.mp4', 40, 64, 48, fps=10)
    job = site.finished(site.send(long.read_bytes())[1]['id'])
    assert job['error'] == ('a.mp4 is 4 seconds long; this page takes videos of up to 3 seconds.')
    wide = write_video(tmp_path / 'wide.mp4', 2, 640, 48)
    job = site.finished(site.send(wide.read_bytes())[1]['id'])
    assert 'a.mp4 has 640 x 48 pixels' in job['error']


def test_aborted_upload_leaves_no_file(site):
    connection = http.client.HTTPConnection('127.0.0.1', site.port)
    connection.putrequest('POST', '/api/jobs?name=a')
    connection.putheader('Content-Length', '200000')
    connection.endheaders(b'\x00' * 1000)
    while not list(site.jobs.root.iterdir()):
        time.sleep(0.01)
    connection.close()
    end = time.monotonic() + 20
    while list(site.jobs.root.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cross_origin_requests_are_refused(site, clip):
    data = clip.read_bytes()
    status, answer, _ = site.ask('POST', '/api/jobs?name=a', data, Origin='http://elsewhere.org')
    assert (status, answer) == (403, dict(error='Requests of other sites are refused.'))
    for odd in ('http://[', 'null', ''):
        assert site.ask('POST', '/api/jobs?name=a', data, Origin=odd)[0] == 403
    own = f'http://127.0.0.1:{site.port}'
    assert site.ask('POST', '/api/jobs?name=a', data, Origin=own)[0] == 202
    # a name of somebody else's that leads here
    assert site.ask('GET', '/api/info', Host='elsewhere.org')[0] == 400
    assert site.ask('GET', '/api/info', Host=f'localhost:{site.port}')[0] == 200


@pytest.mark.parametrize('number', ['1', '9' * 30, '9' * 5000, '-1', 'x', '1.0'])
def test_unknown_examples(site, number):
    for method in ('GET', 'POST'):
        status, content, _ = site.ask(method, f'/api/examples/{number}')
        assert (status, content) == (404, dict(error='There is no such example.'))


def test_scores_has_one_value(site, clip):
    """Another one would give saliency maps, in silence."""
    for path in ('/api/jobs?name=a&scores=true', '/api/jobs?scores='):
        status, content, _ = site.ask('POST', path, clip.read_bytes())
        assert status == 400
        assert '"scores" has to be "only"' in content['error']
    assert not site.jobs._jobs


def test_misspelled_parameter_is_refused(site, clip):
    status, content, _ = site.ask('POST', '/api/jobs?score=only', clip.read_bytes())
    assert status == 400
    assert content['error'] == 'There is no parameter "score"; did you mean "scores"?'
    assert not site.jobs._jobs


def test_unknown_address_and_method_return_json(site):
    status, content, _ = site.ask('GET', '/api/job')
    assert (status, content) == (404, dict(error='GET /api/job: Not Found.'))
    status, content, headers = site.ask('GET', '/api/jobs')
    assert (status, headers['Allow']) == (405, 'POST')
    assert content == dict(error='GET /api/jobs: Method Not Allowed.')


def test_clips_are_queued_and_deleted_afterwards(clip):
    release = threading.Event()

    def explain(video, folder, progress):
        progress(0.5, 'weighing')
        assert release.wait(30)
        return {}

    with Site(explain, [('one', clip)]) as site:
        first, second = (site.ask('POST', '/api/examples/0')[1]['id'] for _ in range(2))
        status, answer, _ = site.ask('POST', '/api/examples/0')
        assert (status, answer['error'][:24]) == (503, 'Too many clips are waiti')
        job = {}
        while job.get('step') != 'weighing':
            job = site.ask('GET', f'/api/jobs/{first}')[1]
        assert (job['state'], job['progress'], job['before']) == ('working', 0.5, 0)
        assert site.ask('GET', f'/api/jobs/{second}')[1]['state'] == 'waiting'
        assert site.ask('DELETE', f'/api/jobs/{second}')[0] == 204
        release.set()
        assert site.finished(first)['state'] == 'done'
        status, picture, headers = site.ask('GET', '/api/examples/0')
        assert headers['Content-Type'] == 'image/jpeg'
        assert Image.open(io.BytesIO(picture)).size == (64, 48)
        assert site.ask('POST', '/api/examples/1')[0] == 404
        root = site.jobs.root
        assert root.is_dir()
    assert not root.exists()
    assert clip.exists()  # an example is no upload


def test_oldest_results_are_evicted(clip):
    jobs = Jobs(fake_explain, fake_check, LIMITS)
    try:
        for _ in range(KEPT + 3):
            job = jobs.open('x', clip)
            jobs.start(job)
            while job.state not in ('done', 'failed'):
                time.sleep(0.01)
        assert len(list(jobs.root.iterdir())) == KEPT
        assert jobs.get(job.id) is job
    finally:
        jobs.close()


def test_abandoned_results_expire(clip, monkeypatch):
    monkeypatch.setattr('mmaction.apis.web.jobs.LIFETIME', 0.2)
    monkeypatch.setattr('mmaction.apis.web.jobs.LOOK_EVERY', 0.05)
    jobs = Jobs(fake_explain, fake_check, LIMITS)
    try:
        job = jobs.open('x', clip)
        jobs.start(job)
        end = time.monotonic() + 20
        while not (job.folder / 'clip.jpg').exists():
            assert time.monotonic() < end
        while job.folder.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert jobs.get(job.id) is None
    finally:
        jobs.close()


def test_no_file_descriptors_are_left_open(site, clip):
    site.finished(site.send(clip.read_bytes())[1]['id'])  # starts the reading process
    count = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else None
    for _ in range(5):
        site.finished(site.send(clip.read_bytes())[1]['id'])
    if count is not None:
        assert len(os.listdir('/proc/self/fd')) <= count + 2
