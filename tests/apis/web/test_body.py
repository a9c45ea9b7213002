"""Uploads: slow senders, forms with several files."""

import http.client
import json
import time
from contextlib import suppress

import pytest

from mmaction.apis.web.uploads import Limits
from tests.apis.web_site import Site
from tests.video_factory import write_video

LIMITS = Limits(megabytes=0.3, waiting=3, uploads=4, upload_grace=1.0, upload_rate=20_000)


@pytest.fixture
def site():
    pytest.importorskip('python_multipart')
    with Site(limits=LIMITS) as site:
        yield site


@pytest.fixture
def data(tmp_path):
    return write_video(tmp_path / 'a.mp4', 20, 64, 48, fps=10).read_bytes()


def form(files, boundary='limit'):
    """Body and header of a form with files."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        'Content-Type: video/mp4\r\n\r\n'.encode()
        + content
        + b'\r\n'
        for name, content in files
    ]
    body = b''.join(parts) + f'--{boundary}--\r\n'.encode()
    return body, {'Content-Type': f'multipart/form-data; boundary={boundary}'}


def start_upload(site, path='/api/jobs?name=slow'):
    connection = http.client.HTTPConnection('127.0.0.1', site.port, timeout=20)
    connection.putrequest('POST', path)
    connection.putheader('Content-Length', '200000')
    connection.endheaders(b'x')
    return connection


def test_stalled_uploads_end_and_keep_nobody_out(site, data):
    stalled = [start_upload(site) for _ in range(3)]
    assert site.finished(site.send(data)[1]['id'])['state'] == 'done'
    begin = time.monotonic()
    answers = []
    while len(answers) < 3 and time.monotonic() - begin < 20:
        time.sleep(0.1)
        for connection in stalled:
            with suppress(OSError):
                connection.send(b'x')  # a byte now and then does not help
        if time.monotonic() - begin > 2:
            answers = [connection.getresponse() for connection in stalled]
    assert [answer.status for answer in answers] == [408] * 3
    assert json.loads(answers[0].read()) == dict(error='slow came too slowly; please try again.')
    assert [p.name for p in site.jobs.root.rglob('*') if p.is_file()] == ['clip.jpg']
    for connection in stalled:
        connection.close()


def test_uploads_are_limited_in_number(site, data):
    stalled = [start_upload(site) for _ in range(4)]
    end = time.monotonic() + 10
    while len(list(site.jobs.root.iterdir())) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    status, answer, headers = site.send(data)
    assert (status, headers['Retry-After']) == (503, '20')
    assert answer['error'].startswith('Too many clips are being uploaded')
    for connection in stalled:
        connection.close()


def test_steady_upload_may_take_longer_than_the_grace(site, data):
    connection = http.client.HTTPConnection('127.0.0.1', site.port, timeout=20)
    connection.putrequest('POST', '/api/jobs?name=steady')
    padded = data + b'\0' * 60_000
    connection.putheader('Content-Length', str(len(padded)))
    connection.endheaders()
    for start in range(0, len(padded), 8000):
        connection.send(padded[start : start + 8000])
        time.sleep(0.2)
    answer = connection.getresponse()
    assert answer.status == 202
    connection.close()


def test_form_with_several_files(site, data):
    body, headers = form([('a.mp4', data), ('../b.mp4', b'hello' * 99)])
    status, answer, _ = site.ask('POST', '/api/jobs?scores=only', body, **headers)
    assert status == 202
    assert [job['name'] for job in answer['jobs']] == ['a.mp4', 'b.mp4']
    first, second = (site.finished(job['id']) for job in answer['jobs'])
    assert (first['state'], first['result']['size']) == ('done', len(data))
    assert second['error'].startswith('b.mp4 is not a video')
    assert not [p for p in site.jobs.root.rglob('*') if p.is_file()]  # scores alone: no picture


def test_form_is_taken_as_a_whole_or_not_at_all(site, data):
    body, headers = form([(f'{i}.mp4', data) for i in range(4)])
    status, answer, _ = site.ask('POST', '/api/jobs', body, **headers)
    assert (status, answer['error']) == (
        400,
        'The form cannot be read: Too many files. Maximum number of files is 3.',
    )
    site.jobs.open('x').state = 'waiting'
    body, headers = form([(f'{i}.mp4', data) for i in range(3)])
    status, answer, headers = site.ask('POST', '/api/jobs', body, **headers)
    assert (status, headers['Retry-After']) == (503, '20')
    assert len(list(site.jobs.root.iterdir())) == 1


@pytest.mark.parametrize(
    ('body', 'kind', 'status', 'sentence'),
    [
        (b'x' * 300_001, 'multipart/form-data; boundary=limit', 413, 'the form is larger than'),
        (b'nonsense', 'multipart/form-data; boundary=limit', 400, 'The form cannot be read'),
        (b'nonsense', 'multipart/form-data', 400, 'The form cannot be read: Missing boundary'),
        (form([])[0], 'multipart/form-data; boundary=limit', 400, 'The form has no file.'),
    ],
)
def test_malformed_forms_get_a_sentence(site, body, kind, status, sentence):
    found, answer, _ = site.ask('POST', '/api/jobs', body, **{'Content-Type': kind})
    assert (found, answer['error'][: len(sentence)]) == (status, sentence)
    assert not list(site.jobs.root.iterdir())


def test_errors_of_the_parser_itself_get_a_sentence(site, data, monkeypatch):
    from python_multipart.exceptions import MultipartParseError

    async def parse(self):
        raise MultipartParseError('Expected a boundary')

    monkeypatch.setattr('starlette.formparsers.MultiPartParser.parse', parse)
    body, headers = form([('a.mp4', data)])
    status, answer, _ = site.ask('POST', '/api/jobs', body, **headers)
    sentence = 'The form cannot be read: Expected a boundary.'
    assert (status, answer['error']) == (400, sentence)
