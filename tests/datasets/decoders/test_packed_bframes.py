"""MPEG-4 as XviD and DivX write it: packed B-frames, and pictures that are not coded."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from mmaction.data_preparation.integrity import inspect_video
from mmaction.datasets.decoders import PyAVReader
from mmaction.datasets.decoders.packed_bframes import is_placeholder
from tests.datasets.decoders.test_references import choices, decoded_again
from tests.video_factory import cut_video, write_video

PLACEHOLDER = bytes.fromhex('000001b6504f')  # at 25 frames per second


def tagged(data):
    """Headers with the name of another encoder."""
    return re.sub(rb'Lavc[\d.]+', b'DivX503b1393p', data)


def is_b(data):
    return data[data.find(b'\0\0\1\xb6') + 4] >> 6 == 2


def packed(packets):
    """Put the first B-frame after a picture into its packet, and a placeholder after the last."""
    has_b = False
    for packet, following in zip(packets, [*packets[1:], b''], strict=True):
        follows = bool(following) and is_b(following)
        if not is_b(packet):
            yield packet + (following if follows else b'')
            has_b = follows
            continue
        if follows:
            yield following
        elif has_b:
            yield PLACEHOLDER


def rewrite(source, path, change, retag=True):
    """Write the packets of an AVI anew, as `change` has them."""
    retag = tagged if retag else bytes
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        packets = list(change([retag(bytes(p)) for p in container.demux(stream) if p.size]))
        size, headers = (context.width, context.height), retag(context.extradata)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.extradata = headers
        for index, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = index
            packet.time_base, packet.stream = Fraction(1, 25), stream
            packet.is_keyframe = data.find(b'\0\0\1\xb0') >= 0
            container.mux(packet)
    return path


@pytest.fixture(scope='module', params=[0, 1, 2, 3])
def source(request, tmp_path_factory):
    """A file with this many B-frames in a row."""
    path = tmp_path_factory.mktemp('source') / 'a.avi'
    return write_video(path, 48, codec='mpeg4', b_frames=request.param, key_interval=12)


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def assert_frames(path, expected):
    reader = PyAVReader(str(path))
    assert len(reader) == len(expected)
    for indices in choices(len(expected)):
        wanted = [expected[index] for index in indices]
        assert np.array_equal(reader.get_batch(indices), wanted), indices
    for index in range(len(expected)):
        assert np.array_equal(PyAVReader(str(path)).get_batch([index])[0], expected[index]), index
    assert len(list(reader.frames())) == len(expected)


@pytest.mark.parametrize('name', ['packed.avi', 'packed.mkv'])
def test_packed(source, tmp_path, monkeypatch, name):
    path = rewrite(source, tmp_path / 'packed.avi', packed)
    if name != path.name:
        path = cut_video(path, tmp_path / name, 1)
    again = decoded_again(monkeypatch)
    assert_frames(path, decoded(source))
    assert not again or name == 'packed.mkv'  # whose first key frame is presented late
    assert not PyAVReader(str(path)).in_plain_order  # other decoders would take wrong frames


def test_packed_without_a_word_in_the_headers(source, tmp_path):
    # PyAV writes headers of its own to Matroska.
    path = rewrite(source, tmp_path / 'packed.mkv', packed)
    assert len(PyAVReader(str(path))) == 48
    assert np.array_equal(PyAVReader(str(path)).get_batch(range(48)), decoded(source))


@pytest.mark.parametrize('is_packed', [False, True])
def test_pictures_that_are_not_coded_are_no_frames(source, tmp_path, is_packed):
    """They stand for a frame that repeats the one before, which decoders do not give out."""

    def drop(packets):
        for index, packet in enumerate(packed(packets) if is_packed else packets):
            # Between groups of B-frames, where encoders put them.
            yield from [PLACEHOLDER] * (index in (3, 4, 17) and not is_b(packet))
            yield packet

    path = rewrite(source, tmp_path / 'dropped.avi', drop, is_packed)
    assert_frames(path, decoded(path))
    assert inspect_video(str(path), quick=True)['remark'] == ''


def test_placeholders():
    assert is_placeholder(PLACEHOLDER)
    assert is_placeholder(b'\0\0\1\xb2XviD0050' + PLACEHOLDER)
    assert is_placeholder(bytes.fromhex('000001b6500009'))  # 16 bits of time
    assert is_placeholder(bytes.fromhex('000001b650027f'))  # a whole byte of stuffing
    coded = PLACEHOLDER[:4] + bytes.fromhex('5065ffff')  # a marker, then a coded picture
    for data in (coded, PLACEHOLDER + PLACEHOLDER, PLACEHOLDER[:4], b'', b'\0\0\1\xb0\x50\x4f'):
        assert not is_placeholder(data)
