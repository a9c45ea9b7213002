"""Packet tables that are kept: the same frames, nothing stale, nothing half-written."""

import os
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import PyAVReader, packet_cache
from mmaction.datasets.decoders.packet_table import PacketTable
from mmaction.utils import remote
from tests.remote_servers import BUCKET, CountingProxy, FaultyServer, s3_server
from tests.video_factory import frame_number, write_video

REAL_READ = PacketTable.read


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / 'packets'
    monkeypatch.setenv('MMACTION_PACKETS', str(path))
    return path


@pytest.fixture
def reads(monkeypatch):
    """Counts how often packets are read."""
    calls = []

    def spied(packets, context):
        calls.append(context)
        return REAL_READ(packets, context)

    monkeypatch.setattr(PacketTable, 'read', spied)
    return calls


def tables(folder):
    return [p for p in folder.glob('??/*') if p.suffix != '.lock']


def opened(path, indices=(3, 17, 30)):
    reader = PyAVReader(str(path))
    frames, facts = reader.get_batch(indices), reader.stream_facts()
    found = (len(reader), reader.get_avg_fps(), reader.in_plain_order, facts)
    reader.close()
    return frames, found


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('a.mp4', dict(b_frames=2)),
        ('a.mkv', dict(durations=[1, 3, 2])),
        ('a.mov', dict(rotation=90, start=7)),
        ('a.mp4', dict(codec='mpeg4')),
    ],
)
def test_a_kept_table_gives_the_same_frames(tmp_path, folder, reads, name, options):
    path = write_video(tmp_path / name, **options)
    os.environ.pop('MMACTION_PACKETS')
    frames, facts = opened(path)
    os.environ['MMACTION_PACKETS'] = str(folder)
    for _ in range(3):
        found, found_facts = opened(path)
        np.testing.assert_array_equal(found, frames)
        assert found_facts == facts
    assert len(reads) == 2
    (table,) = tables(folder)
    assert table.stat().st_size < 600


def test_a_changed_file_is_read_anew(tmp_path, folder, reads):
    path = write_video(tmp_path / 'a.mp4', num_frames=40)
    opened(path)
    longer = write_video(tmp_path / 'b.mp4', num_frames=50)
    shutil.copy(longer, path)
    assert opened(path)[1][0] == 50
    facts = path.stat()
    # of the same size, a second later
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9))
    opened(path)
    assert len(reads) == 3


def test_nothing_is_kept_by_default(tmp_path, reads, monkeypatch):
    monkeypatch.delenv('MMACTION_PACKETS', raising=False)
    path = write_video(tmp_path / 'a.mp4')
    opened(path)
    opened(path)
    assert len(reads) == 2
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


def test_containers_without_an_index_and_content_in_memory_are_read(tmp_path, folder, reads):
    path = write_video(tmp_path / 'a.ts')
    opened(path)
    opened(path)
    content = write_video(tmp_path / 'a.mp4').read_bytes()
    PyAVReader('a.mp4', content).close()
    assert len(reads) == 3
    assert not folder.exists()


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'empty'])
def test_a_damaged_table_is_written_anew(tmp_path, folder, reads, damage):
    path = write_video(tmp_path / 'a.mp4')
    frames, _ = opened(path)
    (table,) = tables(folder)
    content = bytearray(table.read_bytes())
    content[-3] ^= 4
    shorter = {'cut': content[:-9], 'empty': b''}.get(damage, content)
    table.write_bytes(bytes(shorter))
    for count in (2, 3, 3):
        np.testing.assert_array_equal(opened(path)[0], frames)
        assert len(reads) == count


def test_what_ended_with_an_error_is_not_kept(tmp_path, folder, monkeypatch):
    path = write_video(tmp_path / 'a.mp4')
    monkeypatch.setattr(
        PacketTable, 'read', lambda *args: REAL_READ(*args)._replace(is_whole=False)
    )
    opened(path)
    assert not tables(folder)
    monkeypatch.undo()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = chain(islice(container.demux(stream), 2), failing())
        table = REAL_READ(packets, stream.codec_context)
    assert len(table.times) == 2
    assert not table.is_whole


def failing():
    """Packets of which the first cannot be read."""
    raise av.FFmpegError(5, 'Input/output error')
    yield


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'a.mp4')
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('MMACTION_PACKETS', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match=r'MMACTION_PACKETS=.*file: packet tables are not kept'):
        frames, _ = opened(path)
    assert frame_number(frames[0]) == 3


def test_the_folder_is_bounded(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(packet_cache, 'MAX_BYTES', 1000)
    source = write_video(tmp_path / 'a.mp4')
    for i in range(20):
        opened(shutil.copy(source, tmp_path / f'{i}.mp4'))
    assert sum(p.stat().st_size for p in tables(folder)) <= 1000
    assert tables(folder)


def numbers(path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        frames, _ = opened(path, range(0, 40, 5))
    return [frame_number(frame) for frame in frames]


@pytest.mark.dist
def test_several_processes_share_a_folder(tmp_path, folder):
    paths = [write_video(tmp_path / f'{i}.mp4') for i in range(3)] * 8
    with ProcessPoolExecutor(3, get_context('fork')) as pool:
        found = list(pool.map(numbers, paths))
    assert found == [list(range(0, 40, 5))] * 24
    assert len(tables(folder)) == 3


class CountingServer(FaultyServer):
    """Counts the bytes that are asked for."""

    def fetched(self, name):
        size = (self.folder / name).stat().st_size
        ranges = [part for method, each, part in self.asked if (method, each) == ('GET', name)]
        spans = [r.removeprefix('bytes=').split('-') if r else (0, size - 1) for r in ranges]
        self.asked.clear()
        return sum(int(last) - int(first) + 1 for first, last in spans), len(ranges)


@pytest.fixture
def web(tmp_path):
    pytest.importorskip('aiohttp')
    served = tmp_path / 'served'
    served.mkdir()
    with CountingServer(served) as server:
        yield server


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv'])
def test_of_a_remote_file_with_a_table_only_the_clip_is_fetched(web, folder, reads, name):
    path = write_video(web.folder / name, num_frames=600, b_frames=2, options=dict(qp='3'))
    size = path.stat().st_size
    indices = range(300, 330, 2)
    expected, facts = opened(path, indices)
    web.asked.clear()
    url = f'{web.url}/{name}'
    found, found_facts = opened(url, indices)
    assert web.fetched(name) == (size, 1)
    np.testing.assert_array_equal(found, expected)
    found, again_facts = opened(url, indices)
    np.testing.assert_array_equal(found, expected)
    assert facts == found_facts == again_facts
    assert len(reads) == 2  # of the path, of the address
    fetched, requests = web.fetched(name)
    assert fetched < size / 3
    assert requests <= 4
    found, _ = opened(url, (599, 0, 300))
    np.testing.assert_array_equal(found, opened(path, (599, 0, 300))[0])


@pytest.fixture
def s3(monkeypatch):
    """The proxy through which a bucket is read, whose bytes it counts."""
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    with s3_server() as environment, CountingProxy(environment['AWS_ENDPOINT_URL']) as proxy:
        for name, value in (environment | dict(AWS_ENDPOINT_URL=proxy.url)).items():
            monkeypatch.setenv(name, value)
        yield proxy


def test_of_a_file_on_s3_with_a_table_only_the_clip_is_fetched(tmp_path, s3, folder, reads):
    path = write_video(tmp_path / 'a.mp4', num_frames=600, b_frames=2, options=dict(qp='3'))
    url, size = f's3://{BUCKET}/a.mp4', path.stat().st_size
    indices = range(300, 330, 2)
    expected, facts = opened(path, indices)
    with remote.uploaded(url) as part:
        shutil.copy(path, part)
    s3.taken()
    found = opened(url, indices)
    assert size <= s3.taken() < size + 10_000  # the headers of answers
    again = opened(url, indices)
    assert s3.taken() < size / 3
    for frames, told in (found, again):
        np.testing.assert_array_equal(frames, expected)
        assert told == facts
    assert len(reads) == 2  # of the path, of the address
    found, _ = opened(url, (599, 0, 300))
    np.testing.assert_array_equal(found, opened(path, (599, 0, 300))[0])


def test_a_file_on_s3_that_has_changed_is_read_anew(tmp_path, s3, folder, reads):
    url = f's3://{BUCKET}/b.mp4'
    for count in (40, 50):
        with remote.uploaded(url) as part:
            shutil.copy(write_video(tmp_path / f'{count}.mp4', num_frames=count), part)
        assert opened(url)[1][0] == count
    assert len(reads) == 2


def test_a_remote_file_that_has_changed_is_read_anew(web, folder, reads):
    url = f'{web.url}/a.mp4'
    write_video(web.folder / 'a.mp4', num_frames=40)
    opened(url)
    write_video(web.folder / 'a.mp4', num_frames=50)
    assert opened(url)[1][0] == 50
    assert len(reads) == 2


def test_without_a_version_nothing_of_a_remote_file_is_kept(web, folder, reads):
    web.tells_version = False
    write_video(web.folder / 'a.mp4', num_frames=40)
    for _ in range(2):
        opened(f'{web.url}/a.mp4')
    assert len(reads) == 2
    assert not tables(folder)


def test_a_server_without_ranges_is_asked_once(web, folder):
    web.knows_ranges = False
    path = write_video(web.folder / 'a.mp4', num_frames=40)
    expected, _ = opened(path)
    for _ in range(2):
        web.asked.clear()
        np.testing.assert_array_equal(opened(f'{web.url}/a.mp4')[0], expected)
        assert web.gets('a.mp4') == 1
