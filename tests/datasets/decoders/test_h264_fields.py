"""Interlaced H.264 with a packet for each field, written bit by bit: no free encoder makes it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import OpenCVReader, PyAVReader
from mmaction.datasets.decoders.h264_fields import SecondFields
from tests.video_factory import write_video

SIDE, FRAMES, GROUP = 64, 12, 5


class Bits:
    """A unit of a stream, bit by bit."""

    def __init__(self):
        self.bits = []

    def put(self, count, value):
        self.bits += [value >> i & 1 for i in reversed(range(count))]

    def golomb(self, *values):
        for value in values:
            length = (value + 1).bit_length()
            self.put(2 * length - 1, value + 1)

    def samples(self, array):
        self.put(-len(self.bits) % 8, 0)
        self.bits += np.unpackbits(np.ascontiguousarray(array).reshape(-1)).tolist()

    def unit(self, header):
        self.put(1, 1)
        self.put(-len(self.bits) % 8, 0)
        content, zeros = bytearray(), 0
        for byte in np.packbits(np.array(self.bits, np.uint8)).tolist():
            if zeros >= 2 and byte <= 3:
                content.append(3)
                zeros = 0
            content.append(byte)
            zeros = 0 if byte else zeros + 1
        return b'\0\0\0\1' + bytes([header]) + bytes(content)


def parameters():
    """Sequence and picture parameter sets: Main profile, fields allowed, 25 frames a second."""
    sps = Bits()
    for count, value in ((8, 77), (8, 0), (8, 30)):
        sps.put(count, value)
    sps.golomb(0, 0, 0, 4, 2)
    sps.put(1, 0)
    sps.golomb(SIDE // 16 - 1, SIDE // 32 - 1)
    sps.put(10, 0b0010100001)  # fields; 8x8 inference; timing
    sps.put(32, 1)
    sps.put(32, 50)
    sps.put(5, 0b10000)
    pps = Bits()
    pps.golomb(0, 0)
    pps.put(2, 0)
    pps.golomb(0, 0, 0)
    pps.put(3, 0)
    pps.golomb(0, 0, 0)
    pps.put(3, 0b100)
    return sps.unit(0x67) + pps.unit(0x68)


def field(planes, number, bottom):
    """A field of which every macroblock holds its samples as they are (I_PCM)."""
    bits, number = Bits(), number % GROUP
    key = number == 0 and not bottom
    bits.golomb(0, 7, 0)
    bits.put(4, number)
    bits.put(2, 0b10 | bottom)
    if key:
        bits.golomb(0)
    bits.put(8, 2 * number + bottom)
    bits.put(2 if key else 1, 0)
    bits.golomb(0, 1)
    for row in range(0, SIDE // 2, 16):
        for column in range(0, SIDE, 16):
            bits.golomb(25)
            for plane, block in zip(planes, (16, 8, 8), strict=True):
                y, x = row * block // 16, column * block // 16
                bits.samples(plane[bottom::2][y : y + block, x : x + block])
    return bits.unit(0x65 if key else 0x61)


@pytest.fixture(scope='module')
def luma():
    """The luma of each frame; neighbors and fields differ."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return [((2 * columns + rows + 17 * i) % 200 + 20).astype(np.uint8) for i in range(FRAMES)]


@pytest.fixture(scope='module')
def stream(tmp_path_factory, luma):
    gray = np.full((SIDE // 2, SIDE // 2), 128, np.uint8)
    content = b''
    for number, plane in enumerate(luma):
        content += parameters() if number % GROUP == 0 else b''
        content += b''.join(field((plane, gray, gray), number, bottom) for bottom in (0, 1))
    path = tmp_path_factory.mktemp('fields') / 'clip.h264'
    path.write_bytes(content)
    return path


@pytest.fixture(params=['mp4', 'mkv', 'ts', 'avi', 'h264'])
def video(request, stream):
    """The stream in a container, a packet for each field."""
    path = stream.with_suffix(f'.{request.param}')
    if not path.exists():
        with av.open(str(stream)) as source, av.open(str(path), 'w') as target:
            copy = target.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(p for p in source.demux() if p.size):
                packet.pts = packet.dts = number * packet.duration // 2 or number
                packet.stream = copy
                target.mux(packet)
    with av.open(str(path)) as container:
        assert sum(bool(packet.size) for packet in container.demux()) == 2 * FRAMES
    return path


@pytest.mark.parametrize('reader', [PyAVReader, OpenCVReader])
def test_frames_of_two_fields(video, luma, reader):
    found = reader(str(video))
    assert len(found) == FRAMES
    for index in (FRAMES - 1, 0, 7):
        alone = reader(str(video)).get_batch([index])[0]
        # Gray in RGB is luma, of which 16 to 235 are black to white.
        expected = ((luma[index].astype(float) - 16) * 255 / 219).clip(0, 255)
        assert np.abs(alone.mean(-1) - expected).max() < 2
        np.testing.assert_array_equal(found.get_batch([3, index])[1], alone)


def test_rate_counts_frames(stream, luma, tmp_path):
    path = tmp_path / 'clip.mkv'
    with av.open(str(stream)) as source, av.open(str(path), 'w') as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux() if p.size):
            packet.stream, packet.time_base = copy, Fraction(1, 1000)
            packet.pts = packet.dts = 20 * number
            target.mux(packet)
    assert PyAVReader(str(path)).get_avg_fps() == pytest.approx(25, rel=0.01)


def test_progressive_streams_are_not_looked_into(tmp_path):
    path = write_video(tmp_path / 'clip.mp4', 8, 64, 48)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert context.name == 'h264'
        assert not SecondFields(context.extradata).possible


@pytest.mark.parametrize(
    'content', [b'', b'\1', b'\0\0\1', b'\0\0\1\x67', b'\0\0\1\x67' + b'\0' * 40]
)
def test_damaged_headers(content):
    is_second = SecondFields(content)
    for packet in (b'', b'\0\0\1', b'\0\0\1\x65', b'\0\0\1\x65\x80', b'\xff' * 50):
        assert not is_second(packet)
