"""All readers give the same, right frames of every kind of file they can read."""

import ctypes
import gc
import os
import shutil
import sys
from contextlib import closing
from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import (
    BlankReader,
    DecordReader,
    OpenCVReader,
    PyAVReader,
    TorchCodecReader,
)
from mmaction.errors import UnreadableVideoError
from tests.video_factory import frame_number, frame_pixels, write_video

FRAMES = 40
OPEN_GOP = {'preset': 'veryfast', 'x264-params': 'open-gop=1:keyint=12:min-keyint=12:scenecut=0'}
PLAIN = {
    'h264.mp4': {},
    'h264_b.mp4': dict(b_frames=3, options={'preset': 'veryfast'}),
    'h264_vfr.mp4': dict(b_frames=2, durations=[1, 4, 2, 1]),
    'h264.mkv': dict(b_frames=2),
    'h264.flv': {},
    'h264_full_range.mp4': dict(pix_fmt='yuvj420p'),
    'h264_444_odd.mp4': dict(pix_fmt='yuv444p', width=129, height=75),
    'mpeg4.mp4': dict(codec='mpeg4'),
    'vp9.webm': dict(codec='libvpx-vp9'),
    'vp9_odd.webm': dict(codec='libvpx-vp9', width=137, height=75),
    'gray.mp4': dict(pix_fmt='gray'),
    'turned_90.mp4': dict(rotation=90),
    'turned_180.mp4': dict(rotation=180),
    'turned_270.mp4': dict(rotation=270),
}
# decord gives wrong frames of these, and says nothing.
NOT_FOR_DECORD = {
    'h264_open.mp4': dict(b_frames=3, options=OPEN_GOP),
    'h264_open.mkv': dict(b_frames=3, options=OPEN_GOP),
    'h264.ts': dict(b_frames=2),
    'mpeg4_b.mp4': dict(codec='mpeg4', b_frames=2),
    'mpeg4_b.avi': dict(codec='mpeg4', b_frames=2),
}
# Left to PyAV: OpenCV does not decode AV1, and converts the others in another way.
NOT_FOR_OPENCV = {
    'av1.mp4': dict(codec='libsvtav1'),
    'av1_vfr.mp4': dict(codec='libsvtav1', durations=[2, 1]),
    'h264_10_bit.mp4': dict(pix_fmt='yuv420p10le'),
    'mpeg4_odd.mp4': dict(codec='mpeg4', width=137, height=75),
}
DECORD: list[type] = [DecordReader] if find_spec('decord') else []
READERS = {
    **dict.fromkeys(DECORD, PLAIN | NOT_FOR_OPENCV),
    PyAVReader: PLAIN | NOT_FOR_OPENCV | NOT_FOR_DECORD,
    OpenCVReader: PLAIN | NOT_FOR_OPENCV | NOT_FOR_DECORD,
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Path and frames of each file, the frames as decoded one after the other by FFmpeg."""
    root = tmp_path_factory.mktemp('files')
    made = {}

    def make(name):
        if name not in made:
            options = (PLAIN | NOT_FOR_DECORD | NOT_FOR_OPENCV)[name]
            path = write_video(root / name, num_frames=FRAMES, **options)
            made[name] = str(path), PyAVReader(str(path)).get_batch(range(FRAMES))
        return made[name]

    return make


def upright(image, name):
    """Undo the rotation that the file asks for."""
    degrees = PLAIN.get(name, {}).get('rotation', 0)
    return np.rot90(image, -degrees // 90)


@pytest.mark.parametrize('name', PLAIN | NOT_FOR_DECORD | NOT_FOR_OPENCV)
def test_reference_reader_matches_encoded_pixels(files, name):
    _, frames = files(name)
    assert [frame_number(upright(image, name)) for image in frames] == list(range(FRAMES))
    if name != 'gray.mp4':
        image = upright(frames[7], name)
        expected = frame_pixels(7, image.shape[1], image.shape[0])
        assert np.abs(image.astype(int) - expected).mean() < 6


@pytest.mark.skipif(sys.platform != 'linux', reason='of Linux')
def test_encoder_of_av1_leaves_no_real_time_priority(tmp_path):
    write_video(tmp_path / 'a.mp4', num_frames=2, codec='libsvtav1')
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize(
    ('reader', 'name'), [(reader, name) for reader, names in READERS.items() for name in names]
)
def test_readers_agree_on_every_frame(files, reader, name):
    path, expected = files(name)
    video = reader(path)
    assert len(video) == FRAMES
    rng = np.random.default_rng(0)
    orders = [np.array([39]), np.arange(3, 40, 5), np.array([30, 2, 2, 17, 30, 5])]
    for order in [*orders, *rng.integers(0, FRAMES, (4, 6))]:
        frames = video.get_batch(order)
        assert frames.dtype == np.uint8
        assert np.array_equal(frames, expected[order])
    video.close()


@pytest.mark.parametrize('name', PLAIN | NOT_FOR_OPENCV)
def test_torchcodec_agrees_if_installed(files, name):
    path, expected = files(name)
    try:
        video = TorchCodecReader(path)
    except ImportError as error:
        pytest.skip(str(error).splitlines()[0])
    assert len(video) == FRAMES
    for order in ([39], [30, 2, 2, 17], [24, 11]):
        assert np.array_equal(video.get_batch(order), expected[order])


@pytest.mark.parametrize('name', PLAIN)
def test_readers_agree_on_frame_rate(files, name):
    path, _ = files(name)
    rates = [reader(path).get_avg_fps() for reader in (PyAVReader, OpenCVReader, *DECORD)]
    assert rates == pytest.approx([rates[0]] * len(rates), rel=1e-3)
    if 'vfr' not in name and 'flv' not in name:
        assert rates[0] == pytest.approx(25)


def test_inconsistent_timestamps_are_ignored(tmp_path):
    path = tmp_path / 'swapped.mkv'
    with (
        av.open(str(write_video(tmp_path / 'clip.mp4', num_frames=24))) as source,
        av.open(str(path), 'w') as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for index, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.dts, packet.pts = index, index + (2, 3, 1)[index % 3]
            target.mux(packet)
    for wanted in ([1, 2, 5, 20], [2]):
        frames = PyAVReader(str(path)).get_batch(wanted)
        assert [frame_number(image) for image in frames] == wanted


def test_file_starting_between_keyframes(tmp_path):
    # Cut at a packet of the transport stream, after the first of five groups of 12 pictures.
    content = write_video(tmp_path / 'whole.ts', num_frames=60, b_frames=2).read_bytes()
    (tmp_path / 'cut.ts').write_bytes(content[188 * (len(content) // 188 // 10) :])
    reader = PyAVReader(str(tmp_path / 'cut.ts'))
    frames = reader.get_batch(range(len(reader)))
    assert [frame_number(image) for image in frames] == list(range(12, 60))


def test_lost_frame_does_not_shift_later_frames(tmp_path):
    path = tmp_path / 'clip.mkv'
    content = bytearray(write_video(path, num_frames=40).read_bytes())
    sizes = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                sizes.append(content.index(bytes(packet)))
    # A whole picture that nothing can be made of.
    content[sizes[36] : sizes[36] + 60] = bytes(60)
    path.write_bytes(content)
    reader = PyAVReader(str(path))
    assert [frame_number(image) for image in reader.get_batch([20, 35])] == [20, 35]
    with pytest.raises(UnreadableVideoError, match='frame 36 of 40 is damaged or missing'):
        reader.get_batch([20, 36])


@pytest.mark.parametrize('reader', [PyAVReader, *DECORD])
def test_bytes_instead_of_a_path(files, reader):
    path, expected = files('h264_b.mp4')
    with open(path, 'rb') as file:
        video = reader('s3://bucket/clip.mp4', file.read())
    assert np.array_equal(video.get_batch([33, 4]), expected[[33, 4]])


@pytest.mark.parametrize('reader', [PyAVReader, OpenCVReader])
def test_key_frames(files, reader):
    path, expected = files('h264.mp4')
    frames = reader(path).get_key_frames([0, 11, 12, 30])
    assert np.array_equal(frames, expected[[0, 0, 12, 24]])


def test_decoding_threads_do_not_change_frames(files):
    path, expected = files('h264_b.mp4')
    for reader in (PyAVReader, *DECORD):
        assert np.array_equal(reader(path, num_threads=3).get_batch([20, 21]), expected[[20, 21]])


class Mallinfo2(ctypes.Structure):
    """What <malloc.h> of glibc counts; `uordblks` are the bytes in use."""

    _fields_ = [
        ('before', 7 * ctypes.c_size_t),
        ('uordblks', ctypes.c_size_t),
        ('after', 2 * ctypes.c_size_t),
    ]


@pytest.mark.skipif(
    sys.platform != 'linux' or not hasattr(ctypes.CDLL(None), 'mallinfo2'),
    reason='needs glibc 2.33',
)
@pytest.mark.parametrize('name', ['h264_b.mp4', 'h264.ts', 'mpeg4_b.avi'])
def test_memory_of_a_file_is_given_back(files, name):
    path, _ = files(name)
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2

    def in_use_after(reads):
        for _ in range(reads):
            with closing(PyAVReader(path)) as reader:
                reader.get_batch([2, 20])
        del reader
        gc.collect()
        return mallinfo2().uordblks

    before = in_use_after(100)
    # A packet that is not given back is 100 bytes and more.
    assert in_use_after(1000) - before < 50 * 1000


@pytest.mark.parametrize(
    'name',
    ["it's (1) & #2; -x.mp4", 'pipe:0.mp4', '-v.mp4', 'f%03d*?.mp4', 'für.mp4', 'g\udcff.mp4'],
)
def test_unusual_file_names(files, tmp_path, monkeypatch, name):
    path, expected = files('h264.mp4')
    shutil.copy(path, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for named in (name, str(tmp_path / name)):
        assert np.array_equal(PyAVReader(named).get_batch([9]), expected[[9]])
        # OpenCV cannot take a name that is not UTF-8: PyAV reads that file.
        assert np.array_equal(OpenCVReader(named).get_batch([9]), expected[[9]])


def test_blank_reader_returns_black_frames():
    reader = BlankReader('gone.mp4')
    frames = reader.get_batch([0, 5, 299])
    assert frames.shape == (3, 256, 340, 3)
    assert not frames.any()
    assert (len(reader), reader.get_avg_fps()) == (300, 30.0)
