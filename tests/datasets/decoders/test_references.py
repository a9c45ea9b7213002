"""Decoding without pictures that nobody refers to gives the very frames of a full decode."""

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import PyAVReader, pyav_reader
from mmaction.datasets.decoders.references import unreferenced_test
from mmaction.datasets.decoders.upright import UprightFrames
from mmaction.errors import UnreadableVideoError
from tests.video_factory import change_settings, cut_video, decoded_pictures, write_video

FRAMES = 48
H264 = 'keyint=20:min-keyint=4:scenecut=0:bframes=3:b-adapt=0'
H265 = 'keyint=20:min-keyint=4:scenecut=0:bframes=4:b-adapt=0:log-level=none:pools=1'


def h264(options=''):
    return dict(b_frames=3, options={'preset': 'veryfast', 'x264-params': f'{H264}:{options}'})


def h265(options=''):
    params = {'preset': 'ultrafast', 'x265-params': f'{H265}:{options}'}
    return dict(codec='libx265', b_frames=4, options=params)


# Files, and whether pictures can be left out.
FILES = {
    'pyramid.mp4': (h264('b-pyramid=normal'), True),
    'strict_pyramid.mkv': (h264('b-pyramid=strict:open-gop=1'), True),
    'no_pyramid.ts': (h264('b-pyramid=none:weightb=1:direct=temporal'), True),
    'slices.mp4': (h264('slices=3'), True),
    'interlaced.mp4': (h264('tff=1'), True),
    'refresh.mp4': (h264('intra-refresh=1:bframes=0'), False),
    'hevc.mp4': (h265('b-pyramid=1:open-gop=0'), True),
    'hevc_open.mkv': (h265('b-pyramid=1:open-gop=1'), True),
    'hevc.ts': (h265('b-pyramid=0:open-gop=0'), True),
    'hevc_layers.mp4': (h265('temporal-layers=3:open-gop=0'), True),
    'hevc_p.mp4': (h265('bframes=0:open-gop=0'), False),
    # its time stamps rise with the packets, though its pictures are shown in another order
    'unordered.avi': (h264(), False),
    'unordered.mxf': (h264('open-gop=1'), False),
    'unordered.asf': (h264('b-pyramid=normal'), False),
    'mpeg4.mp4': (dict(codec='mpeg4', b_frames=2), True),
    # frames that precede a key frame in time follow it in the file
    'mpeg4.avi': (dict(codec='mpeg4', b_frames=2), True),
    # every packet of these is flagged as a key frame
    'no_index.avi': (dict(codec='msmpeg4'), False),
    'h263.avi': (dict(codec='h263', width=176, height=144), False),
    # seeking leads to pictures that are no key frames, except at those
    'ffv1.mxf': (dict(codec='ffv1'), False),
    'vp9.webm': (dict(codec='libvpx-vp9'), False),
    'av1.mp4': (dict(codec='libsvtav1'), False),
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Path of each file, and all of its frames, decoded one after the other by FFmpeg alone."""
    root, made = tmp_path_factory.mktemp('references'), {}

    def make(name):
        if name not in made:
            path = root / name.removeprefix('cut_')
            if not path.exists():
                write_video(path, num_frames=FRAMES, key_interval=20, **FILES[path.name][0])
            if name == 'no_index.avi':
                path.write_bytes(path.read_bytes().rpartition(b'idx1')[0])
            if name != path.name:
                path = cut_video(path, root / name, 13)
            with av.open(str(path)) as container:
                upright = UprightFrames(container.streams.video[0].time_base, 'rgb24')
                images = [upright(frame).to_ndarray() for frame in container.decode(video=0)]
            made[name] = str(path), np.stack(images)
        return made[name]

    return make


def choices(count):
    """Frames that are asked for: every n-th of a part, some anywhere, one, all."""
    rng = np.random.default_rng(0)
    for interval in (1, 2, 3, 4, 7):
        start = int(rng.integers(0, count - 2 * interval))
        yield np.arange(start, min(count, start + 8 * interval), interval)
    for size in (1, 1, 2, 5):
        yield np.sort(rng.choice(count, size, replace=False))
    yield np.arange(count)


def left_out(monkeypatch, test=unreferenced_test):
    """The list to which every packet that is left out is added."""
    packets = []

    def spied(codec, extradata):
        told = test(codec, extradata)

        def drop(packet):
            dropped = told(packet)
            packets.extend([packet] * dropped)
            return dropped

        return told and drop

    monkeypatch.setattr(pyav_reader, 'unreferenced_test', spied)
    return packets


def decoded_again(monkeypatch):
    """The list to which every call is added that found frames missing and decodes the whole."""
    calls = []
    decode = PyAVReader._decode_all_by_time

    def spied(self, *args):
        calls.append(args)
        return decode(self, *args)

    monkeypatch.setattr(PyAVReader, '_decode_all_by_time', spied)
    return calls


@pytest.mark.parametrize('name', [*FILES, 'cut_pyramid.mp4', 'cut_hevc.mp4'])
def test_frames_equal_full_decode(files, monkeypatch, name):
    path, expected = files(name)
    packets, again = left_out(monkeypatch), decoded_again(monkeypatch)
    reader = PyAVReader(path)
    assert len(reader) == len(expected)
    for indices in choices(len(expected)):
        assert np.array_equal(reader.get_batch(indices), expected[indices]), indices
    # Seeking in a transport stream may lead anywhere; intra-refresh takes a while to recover.
    assert (
        not again or name.endswith('.ts') or name.startswith(('refresh', 'unordered', 'no_index'))
    )
    assert bool(packets) == FILES[name.removeprefix('cut_')][1]


EACH = ('ffv1.mxf', 'hevc_open.mkv', 'mpeg4.avi', 'strict_pyramid.mkv')
UNORDERED = ('unordered.asf', 'unordered.avi', 'unordered.mxf')


@pytest.mark.parametrize('name', [*EACH, *UNORDERED])
def test_each_frame_first(files, monkeypatch, name):
    """As those that follow a key frame in the file and precede it in time."""
    path, expected = files(name)
    again, reader = decoded_again(monkeypatch), PyAVReader(path)
    for index in range(FRAMES - 1, -1, -1):
        assert np.array_equal(reader.get_batch([index])[0], expected[index]), index
    assert bool(again) == (name in UNORDERED)


@pytest.mark.parametrize('name', ['pyramid.mp4', 'hevc.mp4', 'mpeg4.mp4', 'hevc_p.mp4'])
def test_dropped_references_are_noticed(files, monkeypatch, name):
    """The comparison above objects if pictures that are referred to are left out."""
    path, expected = files(name)
    again = decoded_again(monkeypatch)
    left_out(monkeypatch, lambda codec, extradata: lambda packet: True)
    differ = 0
    for indices in choices(len(expected)):
        try:
            differ += not np.array_equal(PyAVReader(path).get_batch(indices), expected[indices])
        except UnreadableVideoError:
            differ += 1
    assert differ + len(again) >= 3


def test_lower_temporal_layers_stay():
    """Pictures of a higher layer refer to them, whatever their type says."""
    sets = bytes.fromhex('00000140010c04')  # three temporal layers
    test = unreferenced_test('hevc', sets)
    for layer, told in ((0, False), (1, False), (2, True)):
        assert test(b'\0\0\1' + bytes([0, layer + 1, 0])) is told  # TRAIL_N
        assert not test(b'\0\0\1' + bytes([2, layer + 1, 0]))  # TRAIL_R
    assert unreferenced_test('hevc', b'') is None


def test_packets_that_carry_more_than_a_picture_stay():
    test = unreferenced_test('h264', None)
    plain, reference, settings = b'\0\0\1\x01\x9a', b'\0\0\1\x41\x9a', b'\0\0\1\x67\x42'
    assert test(plain)
    assert test(b'\0\0\1\x06\5' + plain)  # SEI
    assert not test(reference)
    assert not test(settings + plain)
    assert not test(plain + reference)
    assert not test(b'')
    sized = unreferenced_test('h264', b'\1\0\0\0\xff')
    assert sized(b'\0\0\0\2\x01\x9a')
    assert not sized(b'\0\0\0\x09\x01\x9a')  # cut off


def test_b_vop_beside_another_picture_stays():
    test = unreferenced_test('mpeg4', None)
    assert test(b'\0\0\1\xb6\x80')
    assert not test(b'\0\0\1\xb6\x40')
    assert not test(b'\0\0\1\xb6\x80\0\0\1\xb6\x40')


def test_settings_that_change_on_the_way(tmp_path, monkeypatch):
    """As where files with different settings were joined without encoding them anew."""
    settings = dict(num_frames=FRAMES, key_interval=12)
    other = write_video(tmp_path / 'b.mp4', **settings, **h264('chroma-qp-offset=8'))
    path = write_video(tmp_path / 'a.mp4', **settings, **h264('keyint=12:min-keyint=12'))
    with av.open(str(path)) as container:
        before = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    with av.open(str(change_settings(path, other, 24))) as container:
        expected = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    same = [np.array_equal(*pair) for pair in zip(before, expected, strict=True)]
    assert same == [True] * 24 + [False] * 24
    for index in range(20, FRAMES):
        assert np.array_equal(PyAVReader(str(path)).get_batch([index])[0], expected[index]), index
    # Other decoders do not know, so they are not to decode it; nor if packets are kept.
    monkeypatch.setenv('MMACTION_PACKETS', str(tmp_path / 'packets'))
    assert [PyAVReader(str(path)).in_plain_order for _ in range(2)] == [False, False]
    assert PyAVReader(str(other)).in_plain_order


def test_settings_that_are_told_again(tmp_path):
    """As live streams do before each key frame, so that those who join in can decode."""
    path = write_video(tmp_path / 'a.flv', num_frames=FRAMES, key_interval=12, **h264())
    content, place, tags = path.read_bytes(), 13, []
    while place < len(content):  # type 1, size 3, time 4, stream 3; then how long it was, 4
        end = place + 15 + int.from_bytes(content[place + 1 : place + 4], 'big')
        tags.append(content[place:end])
        place = end
    settings = next(tag for tag in tags if tag[0] == 9 and tag[12] == 0)
    again = [
        settings[:4] + tag[4:8] + settings[8:] + tag if tag[0] == 9 and tag[11] >> 4 == 1 else tag
        for tag in tags
    ]
    path.write_bytes(content[:13] + b''.join(again))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.has_sidedata('new_extradata')]
    assert packets
    assert PyAVReader(str(path)).in_plain_order


def test_key_frames_between_clips_are_jumped_to(files, monkeypatch):
    path, expected = files('hevc_p.mp4')
    decoded = decoded_pictures(monkeypatch, PyAVReader)
    indices = [1, 21, 41]
    assert np.array_equal(PyAVReader(path).get_batch(indices), expected[indices])
    assert len(decoded) == 6


def test_clips_after_all_frames(files):
    path, expected = files('hevc.mp4')
    reader = PyAVReader(path)
    assert len(list(reader.frames())) == len(expected)
    for indices in ([30, 33], [3, 45], [2]):
        assert np.array_equal(reader.get_batch(indices), expected[indices])
