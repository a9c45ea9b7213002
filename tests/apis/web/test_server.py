"""The server of the page: what it takes, what it gives, and what it keeps to itself."""

import http.client
import io
import os
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.apis import init_recognizer
from mmaction.apis.web.explain import Explainer, sprite
from mmaction.apis.web.jobs import KEPT, Jobs
from mmaction.apis.web.server import plain_name
from mmaction.apis.web.uploads import UploadError, check_video, container_format
from mmaction.datasets.video_source import VideoSource
from tests.apis.conftest import CLASSES, tiny_config
from tests.apis.web_site import LIMITS, Site, fake_check, fake_explain
from tests.video_factory import write_video


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / 'a clip.mp4', 20, 64, 48, fps=10)


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
    status, _, _ = site.ask('POST', '/api/jobs?name=a', data, Origin='http://elsewhere.org')
    assert status == 403
    own = f'http://127.0.0.1:{site.port}'
    assert site.ask('POST', '/api/jobs?name=a', data, Origin=own)[0] == 202
    # a name of somebody else's that leads here
    assert site.ask('GET', '/api/info', Host='elsewhere.org')[0] == 400
    assert site.ask('GET', '/api/info', Host=f'localhost:{site.port}')[0] == 200


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


def test_container_is_detected_by_magic_bytes(tmp_path):
    for name, kind in (
        ('a.mp4', 'mov'),
        ('a.mkv', 'matroska'),
        ('a.avi', 'avi'),
        ('a.ts', 'mpegts'),
    ):
        path = tmp_path / name
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('mpeg4', rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for i in range(10):
                picture = np.full((48, 64, 3), 25 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode())
        assert container_format(path.read_bytes()[:512]) == kind
        facts = check_video(path, name, LIMITS)
        assert (facts.width, facts.height) == (64, 48)
        assert 0.8 < facts.seconds < 1.2
    sound = tmp_path / 'sound.mp4'
    with av.open(str(sound), 'w') as container:
        stream = container.add_stream('aac', rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UploadError, match='it holds no video stream'):
        check_video(sound, 'sound.mp4', LIMITS)


def test_explainer_returns_everything_on_the_page(tmp_path, clip):
    model = init_recognizer(tiny_config(), device='cpu')
    steps = []
    result = Explainer(model, None)(clip, tmp_path, lambda share, step: steps.append((share, step)))
    assert [share for share, _ in steps] == sorted(share for share, _ in steps)
    assert len(result['top']) == 5
    assert result['top'][0]['name'].startswith('class ')
    assert 0 < sum(entry['score'] for entry in result['top']) <= 1.001
    assert result['views'] == 6
    shown = result['clip']
    assert (shown['frames'], shown['seen'], shown['fps']) == (4, '32 x 32', 10)
    size = (shown['width'] * 4, shown['height'])
    files = ['clip.jpg', *(entry['file'] for entry in result['maps'])]
    assert [Image.open(tmp_path / name).size for name in files] == [size] * 5
    titles = ['Grad-CAM', 'HiResCAM', 'Local windows', 'Global pyramid']
    assert [entry['title'] for entry in result['maps']] == titles
    tokens = result['tokens']
    rows = tokens['steps'] * tokens['rows']
    assert Image.open(tmp_path / 'tokens.png').size == (tokens['columns'], rows)
    assert len(tokens['legend']) <= CLASSES
    # the frames are those whose numbers are told
    frames = VideoSource(clip).read(shown['numbers'])[:, :, 8:56]
    first = np.asarray(Image.open(tmp_path / 'clip.jpg'))[:, : shown['width']]
    assert abs(first.mean() - frames[0].mean()) < 12


VIT = dict(type='VisionTransformer', img_size=32, embed_dims=24, depth=2, num_heads=2, num_frames=4)
TSM = dict(
    type='ResNetTSM',
    depth=18,
    num_segments=4,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
)


@pytest.mark.parametrize('kind', ['timm', 'tsm', 'vit'])
def test_explainer_of_other_networks(tmp_path, clip, kind):
    """A 2-D network on a clip, TSM on segments of one frame, a transformer of tokens."""
    backbone, head, frames = dict(
        timm=(dict(type='timm.resnet18'), dict(type='TSNHead', in_channels=512), 4),
        tsm=(TSM, dict(type='TSMHead', in_channels=128, num_segments=4), 4),
        vit=(VIT, dict(type='TimeSformerHead', in_channels=24), 4),
    )[kind]
    cfg = tiny_config()
    cfg.model.type = 'Recognizer3D' if kind == 'vit' else 'Recognizer2D'
    cfg.model.backbone = backbone
    cfg.model.cls_head = dict(head, num_classes=CLASSES, average_clips='prob')
    if kind == 'tsm':
        cfg.test_pipeline[1].update(clip_len=1, num_clips=4)
        cfg.test_pipeline[-2].input_format = 'NCHW'
        cfg.model.data_preprocessor.format_shape = 'NCHW'
    model = init_recognizer(cfg, device='cpu')
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    result = Explainer(model)(clip, tmp_path, lambda *_: None)
    assert len(result['top']) == 5
    assert result['tokens'] is None or kind == 'vit'
    assert result['clip']['frames'] == frames
    titles = [entry['title'] for entry in result['maps']]
    assert titles == ['Grad-CAM'], result.get('no_maps')
    sizes = {Image.open(tmp_path / name).size for name in ('clip.jpg', result['maps'][0]['file'])}
    assert len(sizes) == 1


def test_sprite():
    frames = np.arange(10, dtype=np.uint8).repeat(2 * 3 * 3).reshape(10, 2, 3, 3)
    grid = sprite(frames)
    assert grid.shape == (4, 24, 3)
    assert (grid[:2, 21:24] == 7).all()
    assert (grid[2:, 3:6] == 9).all()
    assert not grid[2:, 6:].any()
    assert sprite(frames[:2]).shape == (2, 6, 3)


def test_no_file_descriptors_are_left_open(site, clip):
    site.finished(site.send(clip.read_bytes())[1]['id'])  # starts the reading process
    count = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else None
    for _ in range(5):
        site.finished(site.send(clip.read_bytes())[1]['id'])
    if count is not None:
        assert len(os.listdir('/proc/self/fd')) <= count + 2
