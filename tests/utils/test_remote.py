"""Remote files: S3, GCS, the Hub, HTTP with faults, the cache, and what messages leave out."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mmaction.errors import CheckpointError, ConfigError, RemoteFileError
from mmaction.utils import remote, remote_access
from mmaction.utils.file_backend import FsspecBackend
from mmaction.utils.remote import (
    exists,
    file_size,
    is_remote,
    list_folder,
    local_path,
    open_file,
    parse_size,
    read_bytes,
    redacted,
    remove_file,
    uploaded,
    uri_of,
)
from tests.hub_server import hub, point_hub
from tests.remote_servers import BUCKET, FaultyServer, gcs_server, s3_server

pytest.importorskip('aiohttp')
CONTENT = bytes(range(256)) * 100


@pytest.fixture(scope='module')
def s3():
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    with s3_server() as environment:
        yield environment


@pytest.fixture
def bucket(s3, monkeypatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return f's3://{BUCKET}'


@pytest.fixture(params=['s3', 'gs', 'hf'])
def store(request, monkeypatch, tmp_path):
    """The address of a folder of each kind of store."""
    if request.param == 's3':
        request.getfixturevalue('bucket')
        yield f's3://{BUCKET}'
    elif request.param == 'gs':
        pytest.importorskip('gcsfs')
        pytest.importorskip('gcp_storage_emulator')
        with gcs_server() as address:
            monkeypatch.setenv('STORAGE_EMULATOR_HOST', address)
            yield f'gs://{BUCKET}'
    else:
        pytest.importorskip('huggingface_hub')
        monkeypatch.setenv('HF_TOKEN', 'hf_secret')
        (tmp_path / 'hub' / 'datasets' / 'org' / 'clips').mkdir(parents=True)
        with hub(tmp_path / 'hub', monkeypatch, tmp_path / 'cache'):
            yield 'hf://datasets/org/clips'


@pytest.fixture
def web(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_access, '_FIRST_WAIT', 0.01)
    monkeypatch.setenv('MMACTION_REMOTE_TIMEOUT', '0.5')
    folder = tmp_path / 'served'
    folder.mkdir()
    (folder / 'a.bin').write_bytes(CONTENT)
    with FaultyServer(folder) as server:
        yield server


@pytest.fixture(params=['http', 'gs', 'hf'])
def faulty(request, web, monkeypatch):
    """The address of a file on a server with faults, and its name there."""
    address, name = f'{web.url}/a.bin', 'a.bin'
    if request.param == 'gs':
        pytest.importorskip('gcsfs')
        from fsspec.config import conf

        monkeypatch.setenv('STORAGE_EMULATOR_HOST', web.url)
        monkeypatch.setitem(conf, 'gs', dict(token='anon'))
        address, name = 'gs://bucket/a.bin', 'download/storage/v1/b/bucket/o/a.bin'
    elif request.param == 'hf':
        pytest.importorskip('huggingface_hub')
        point_hub(web.url, monkeypatch)
        address, name = 'hf://datasets/o/r/a.bin', 'datasets/o/r/resolve/main/a.bin'
        (web.folder / 'api' / 'datasets' / 'o').mkdir(parents=True)
        (web.folder / 'api' / 'datasets' / 'o' / 'r').write_text('{"id": "o/r", "sha": "x"}')
    (web.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (web.folder / name).write_bytes(CONTENT)
    return address, name


def test_paths_and_addresses_are_told_apart():
    assert is_remote('s3://b/k')
    assert is_remote(Path('s3://b/k'))
    assert uri_of(Path('s3://b/k')) == 's3://b/k'
    for path in ('a/b', '/a:b', 'timm://x', 'rtsp://camera', 'C: x.mp4', 's3', ''):
        assert not is_remote(path)


@pytest.mark.parametrize(
    ('text', 'size'), [('512MB', 512_000_000), ('1.5 gb', 1_500_000_000), ('4096', 4096)]
)
def test_size_is_parsed(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize('text', ['', 'big', '0', '-1MB', '1..2', '.'])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match='a size is a number'):
        parse_size(text)


def test_wrong_setting_names_its_variable(monkeypatch):
    monkeypatch.setenv('MMACTION_CACHE_SIZE', 'much')
    with pytest.raises(ConfigError, match="MMACTION_CACHE_SIZE='much'"):
        remote.settings()


def test_objects_are_written_listed_read_and_removed(store):
    path = f'{store}/a/b.bin'
    assert not exists(path)
    with pytest.raises(FileNotFoundError, match=rf'there is no file {store}/a/b\.bin'):
        read_bytes(path)
    with uploaded(Path(path)) as part:
        part.write_bytes(CONTENT)
    assert exists(path)
    assert read_bytes(path) == CONTENT
    assert read_bytes(path, 100, 300) == CONTENT[100:300]
    assert file_size(path) == len(CONTENT)
    assert list_folder(f'{store}/a') == [path]
    with open_file(path) as file:
        assert file.seek(-56, os.SEEK_END) == len(CONTENT) - 56
        assert file.read() == CONTENT[-56:]
        file.seek(5)
        assert file.read(10) == CONTENT[5:15]
    remove_file(path)
    remove_file(path)
    assert not exists(path)


def test_object_appears_only_when_it_is_whole(store):
    def write_half():
        with uploaded(f'{store}/half.bin') as part:
            part.write_bytes(CONTENT)
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert not exists(f'{store}/half.bin')


def test_writing_to_a_bucket_that_is_not_there_names_it(bucket):
    with pytest.raises(RemoteFileError, match='s3://nowhere/x'), uploaded('s3://nowhere/x') as part:
        part.write_bytes(b'x')


def test_local_copy_is_of_the_present_version(store, tmp_path, monkeypatch):
    monkeypatch.setenv('MMACTION_CACHE', str(tmp_path / 'kept'))
    for content in (b'first', b'other', b'a longer one'):
        FsspecBackend().put(content, f'{store}/model.bin')
        assert local_path(f'{store}/model.bin').read_bytes() == content
    assert local_path('x/y.bin') == Path('x/y.bin')


@pytest.mark.parametrize('fault', ['503', 'reset', 'truncate', 'stall'])
def test_faults_that_pass_cost_an_attempt(web, faulty, fault, logged):
    address, name = faulty
    web.faults[name] = [fault, fault]
    assert read_bytes(address) == CONTENT
    assert web.gets(name) == 3
    # The HTTP client itself repeats a request on a connection that was reset.
    told = [line for line in logged if 'a.bin' in line and 'of 4' in line]
    assert len(told) == (1 if fault == 'reset' else 2)


def test_latency_is_waited_for(web):
    web.faults['a.bin'] = ['latency']
    assert read_bytes(f'{web.url}/a.bin') == CONTENT
    assert web.gets('a.bin') == 1


def test_stalled_connection_ends(web, faulty, monkeypatch):
    monkeypatch.setenv('MMACTION_REMOTE_RETRIES', '1')
    address, name = faulty
    web.faults[name] = ['stall', '...']
    start = time.monotonic()
    with pytest.raises(RemoteFileError, match=r'no answer for 0\.5 s \(2 attempts\)'):
        read_bytes(address)
    assert time.monotonic() - start < 5


def test_denied_access_is_not_tried_again(web, faulty):
    address, name = faulty
    web.faults[name] = ['403', '...']
    with pytest.raises(RemoteFileError, match=f'{address}: the server says 403'):
        read_bytes(address)
    assert web.gets(name) == 1


def test_server_that_is_gone_is_no_missing_file(web):
    web.stop()
    with pytest.raises(RemoteFileError, match='4 attempts'):
        exists(f'{web.url}/a.bin')


def test_secrets_stay_out_of_messages(web, logged):
    address = web.url.replace('//', '//user:pa55@') + '/a.bin?X-Signature=s1gn'
    web.faults['a.bin'] = ['503', '...']
    with pytest.raises(RemoteFileError) as caught:
        read_bytes(address)
    told = ' '.join([str(caught.value), *logged])
    assert web.gets('a.bin') == 4
    assert '/a.bin: the server says 503' in told
    assert 'pa55' not in told
    assert 's1gn' not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert redacted(address) == f'{web.url}/a.bin'


def test_token_of_the_hub_is_sent_and_stays_out_of_messages(tmp_path, monkeypatch):
    pytest.importorskip('huggingface_hub')
    monkeypatch.setenv('HF_TOKEN', 'hf_topsecret')
    repo = tmp_path / 'hub' / 'datasets' / 'org' / 'clips'
    repo.mkdir(parents=True)
    (repo / 'a b.bin').write_bytes(CONTENT)
    with hub(tmp_path / 'hub', monkeypatch, tmp_path / 'cache') as server:
        assert read_bytes('hf://datasets/org/clips/a b.bin') == CONTENT
        assert server.tokens == {'Bearer hf_topsecret'}
        with pytest.raises(FileNotFoundError, match=r'or a token is needed \(HF_TOKEN\)') as caught:
            read_bytes('hf://datasets/org/clips/none.bin')
        assert 'topsecret' not in str(caught.value)


def test_backend_refuses_credentials():
    with pytest.raises(ConfigError, match="'secret' of the file backend: a config is written"):
        FsspecBackend(secret='x')


def test_http_is_not_written_to(web):
    with pytest.raises(RemoteFileError), uploaded(f'{web.url}/new.bin') as part:
        part.write_bytes(b'x')


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'gcsfs.core', None)
    remote_access._google_filesystem.cache_clear()
    with pytest.raises(ImportError, match=r'gs://b/k: gs:// needs a package .*dualformer\[gcs\]'):
        read_bytes('gs://b/k')


def test_cached_file_needs_no_server(web, tmp_path, monkeypatch):
    monkeypatch.setenv('MMACTION_CACHE', str(tmp_path / 'cache'))
    assert read_bytes(f'{web.url}/a.bin') == CONTENT
    web.stop()
    assert read_bytes(f'{web.url}/a.bin') == CONTENT
    assert read_bytes(f'{web.url}/a.bin', 10, 20) == CONTENT[10:20]
    assert remote.read_or_open(f'{web.url}/a.bin', 10**9) == CONTENT


def test_truncated_download_never_enters_the_cache(web, tmp_path, monkeypatch):
    monkeypatch.setenv('MMACTION_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('MMACTION_REMOTE_RETRIES', '0')
    web.faults['a.bin'] = ['truncate']
    with pytest.raises(RemoteFileError):
        read_bytes(f'{web.url}/a.bin')
    assert [p for p in (tmp_path / 'cache').glob('??/*') if not p.suffix] == []
    assert read_bytes(f'{web.url}/a.bin') == CONTENT


def test_checkpoint_elsewhere_is_written_and_read(bucket, tmp_path, monkeypatch):
    import torch

    from mmaction.engine.runner.checkpoint import save_checkpoint_file
    from mmaction.utils.checkpoint_reading import load_checkpoint_file

    monkeypatch.setenv('MMACTION_CACHE', str(tmp_path))
    path = f'{bucket}/runs/epoch_1.pth'
    for value in (1.0, 2.0):
        save_checkpoint_file(dict(state_dict=dict(weight=torch.full((3,), value))), path)
        loaded = load_checkpoint_file(path)
        assert loaded['state_dict']['weight'].tolist() == [value] * 3
    with uploaded(path) as part:
        part.write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match=r'checkpoint s3://clips/runs/epoch_1\.pth is cut'):
        load_checkpoint_file(path)


def _read_all(url, folder, names, results):
    os.environ['MMACTION_CACHE'] = folder
    os.environ['MMACTION_CACHE_SIZE'] = '200KB'
    good = all(read_bytes(f'{url}/{name}') == name.encode() * 2500 for name in names)
    results.put(good)


def test_cache_is_bounded_and_shared_by_processes(web, tmp_path):
    names = [f'{number:04}' for number in range(40)]  # 10 kB each, 400 kB of 200
    for name in names:
        (web.folder / name).write_bytes(name.encode() * 2500)
    cache = tmp_path / 'cache'
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    children = [
        context.Process(target=_read_all, args=(web.url, str(cache), names, results))
        for _ in range(3)
    ]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [True] * 3
    for child in children:
        child.join()
    kept = [path for path in cache.glob('??/*') if not path.suffix]
    assert 100_000 < sum(path.stat().st_size for path in kept) <= 200_000
    # One fetches, the others wait for it, unless it fell out of the cache in between.
    assert sum(web.gets(name) for name in names) < 80
