"""Files from the web: cache, hash, progress, and what is said without a network."""

import functools
import hashlib
import http.server
import threading

import pytest

from mmaction.utils.download import DownloadError, cache_folder, download, hash_in_name

CONTENT = bytes(range(256)) * 5000


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, counts requests, and breaks off `short.bin`."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        if not self.path.endswith('short.bin'):
            return super().do_GET()
        self.send_response(200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / 'served'
    folder.mkdir()
    Handler.asked = []
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


def test_file_is_kept(server, tmp_path):
    folder, root = server
    (folder / 'a b.bin').write_bytes(CONTENT)
    path = download(f'{root}/a%20b.bin?download=1', tmp_path / 'cache')
    assert path == tmp_path / 'cache' / 'a b.bin'
    assert path.read_bytes() == CONTENT
    assert download(f'{root}/a%20b.bin?download=1', tmp_path / 'cache') == path
    assert len(Handler.asked) == 1
    assert [each.name for each in path.parent.iterdir()] == ['a b.bin']


def test_cache_is_torch_hubs(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'hub' / 'checkpoints'


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('resnet50-11ad3fa6.pth', '11ad3fa6'),
        ('tsn_r50_kinetics400-rgb_20220906-cd10898e.pth', 'cd10898e'),
        ('x-20220906.pth', None),
        ('x_20220906.pth', None),
        ('x-0123abc.pth', None),
    ],
)
def test_hash_in_name(name, expected):
    assert hash_in_name(name) == expected


def test_hash_is_checked(server, tmp_path):
    folder, root = server
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    for name in (f'x-{digest}.pth', 'x-01234567.pth'):
        (folder / name).write_bytes(CONTENT)
    assert download(f'{root}/x-{digest}.pth', tmp_path / 'cache').is_file()
    with pytest.raises(DownloadError, match=f'has the hash {digest}, but its name says 01234567'):
        download(f'{root}/x-01234567.pth', tmp_path / 'cache')
    assert [each.name for each in (tmp_path / 'cache').iterdir()] == [f'x-{digest}.pth']


def test_broken_download_leaves_nothing(server, tmp_path):
    _, root = server
    with pytest.raises(DownloadError, match=r'short\.bin could not be fetched'):
        download(f'{root}/short.bin', tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []


def test_answer_of_the_server_is_said(server, tmp_path):
    _, root = server
    with pytest.raises(
        DownloadError, match=r'none\.pth could not be fetched \(the server says 404'
    ):
        download(f'{root}/none.pth', tmp_path)


def test_without_network(tmp_path):
    with pytest.raises(DownloadError, match='Without a network') as caught:
        download('http://127.0.0.1:9/x.pth', tmp_path)
    assert str(tmp_path / 'x.pth') in str(caught.value)
    assert '\n' not in str(caught.value)


def test_progress_bar_on_a_terminal(server, tmp_path, monkeypatch, capsys):
    folder, root = server
    (folder / 'x.bin').write_bytes(CONTENT)
    download(f'{root}/x.bin', tmp_path / 'plain')
    assert capsys.readouterr().err == ''
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    download(f'{root}/x.bin', tmp_path / 'terminal')
    assert 'x.bin' in capsys.readouterr().err
