"""Cut, mirrored, interlaced video and files of several streams: every reader as FFmpeg.

The right values are those of the `ffmpeg` command: what is shown is what was
written, frame by frame (`frame_number`), and turned as the display matrix says.
"""

import importlib.util

import av
import numpy as np
import pytest

from mmaction.datasets.decoders import (
    OpenCVReader,
    PyAVReader,
    TorchCodecReader,
)
from mmaction.errors import UnreadableVideoError
from tests.video_factory import (
    cut_video,
    frame_number,
    frame_pixels,
    join_streams,
    set_display_matrix,
    write_cover,
    write_video,
)

READERS = [PyAVReader, OpenCVReader]
if importlib.util.find_spec('torchcodec'):
    READERS.append(TorchCodecReader)
ONE = 1 << 16


def shown(reader, path):
    """Numbers of all frames, each the same alone as among its neighbors."""
    video = reader(str(path))
    frames = video.get_batch(range(len(video)))
    # Twice: a reader that stands behind a frame must not give the next one.
    for index in (0, len(video) // 2, len(video) // 2, len(video) - 1):
        assert np.array_equal(video.get_batch([index]), frames[[index]])
    assert video.fallback is None if hasattr(video, 'fallback') else True
    return [frame_number(image) for image in frames]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """60 frames, a key frame at every 20th, with B-frames."""
    path = tmp_path_factory.mktemp('source') / 'clip.mp4'
    return write_video(path, num_frames=60, key_interval=20, b_frames=2)


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize(
    ('name', 'start'), [('a.mp4', 7), ('b.mp4', 30), ('c.mov', 39), ('d.mp4', 20), ('e.mp4', 59)]
)
def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path, source, reader, name, start):
    path = cut_video(source, tmp_path / name, start)
    assert shown(reader, path) == list(range(start, 60))


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', ['a.mkv', 'a.ts'])
def test_cut_in_containers_without_edit_lists(tmp_path, source, reader, name):
    path = cut_video(source, tmp_path / name, 30)
    assert shown(reader, path) == list(range(20, 60))


@pytest.mark.parametrize('reader', READERS)
def test_open_group_after_a_cut_loses_its_leading_frames(tmp_path, reader):
    options = {'x264-params': 'open-gop=1:keyint=20:min-keyint=20:scenecut=0', 'preset': 'fast'}
    whole = write_video(tmp_path / 'whole.mp4', num_frames=60, b_frames=3, options=options)
    numbers = shown(reader, cut_video(whole, tmp_path / 'cut.mkv', 30))
    assert numbers == list(range(numbers[0], 60))
    assert 17 <= numbers[0] <= 20


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.mov'])
@pytest.mark.parametrize('cover_first', [True, False])
def test_cover_picture_is_no_video(tmp_path, source, reader, name, cover_first):
    path = write_cover(tmp_path / name, source, cover_first)
    assert shown(reader, path) == list(range(60))


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', ['a.m4a', 'a.mp4', 'a.mkv'])
def test_sound_with_a_cover_is_no_video(tmp_path, reader, name):
    path = write_cover(tmp_path / name, None, cover_first=False)
    with pytest.raises(UnreadableVideoError, match='no video stream, only a cover picture'):
        reader(str(path))


@pytest.mark.parametrize('name', ['a.mp4', 'a.avi', 'a.mkv'])
def test_no_packet_of_another_stream_is_read(tmp_path, name):
    one, two = (write_video(tmp_path / f'{i}.mp4', 20, codec='mpeg4') for i in range(2))
    video = PyAVReader(str(join_streams(tmp_path / name, [one, two])))
    video._container.seek(0)
    assert {packet.stream.index for packet in video._container.demux() if packet.size} == {0}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize(
    ('name', 'default', 'width'),
    [
        ('first.mkv', 0, 128),
        ('second.mkv', 1, 256),
        ('none.mkv', None, 256),
        ('size.ts', None, 256),
        ('size.avi', None, 256),
    ],
)
def test_of_several_streams_the_default_or_else_the_largest(tmp_path, reader, name, default, width):
    codec = 'mpeg4' if name.endswith('avi') else 'libx264'
    small = write_video(tmp_path / 'small.mp4', num_frames=60, codec=codec)
    large = write_video(tmp_path / 'large.mp4', 24, width=256, height=160, codec=codec)
    path = join_streams(tmp_path / name, [small, large], default)
    video = reader(str(path))
    assert len(video) == (24 if width == 256 else 60)
    assert video.get_batch([3]).shape[2] == width


# Of a picture that is stored as it was written, what the `ffmpeg` command shows.
MATRICES = {
    'identity': ((ONE, 0, 0, ONE), lambda image: image),
    'zeros': ((0, 0, 0, 0), lambda image: image),
    'half of zeros': ((ONE, 0, 0, 0), lambda image: image),
    'larger': ((2 * ONE, 0, 0, 2 * ONE), lambda image: image),
    'mirrored': ((-ONE, 0, 0, ONE), np.fliplr),
    'flipped': ((ONE, 0, 0, -ONE), np.flipud),
    'turned by 180': ((-ONE, 0, 0, -ONE), lambda image: np.rot90(image, 2)),
    'turned by 90': ((0, ONE, -ONE, 0), lambda image: np.rot90(image, -1)),
    'turned by 270': ((0, -ONE, ONE, 0), lambda image: np.rot90(image, 1)),
    'mirrored and turned by 90': ((0, ONE, ONE, 0), lambda image: image.transpose(1, 0, 2)),
    'mirrored and turned by 270': (
        (0, -ONE, -ONE, 0),
        lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    ),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', MATRICES)
def test_display_matrix(tmp_path, reader, name):
    values, show = MATRICES[name]
    path = set_display_matrix(write_video(tmp_path / 'a.mp4', num_frames=3), *values)
    image = reader(str(path)).get_batch([2])[0]
    expected = show(frame_pixels(2))
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 6


@pytest.mark.parametrize('reader', READERS)
def test_odd_angle_rotates_within_the_frame(tmp_path, reader):
    cos, sin = round(ONE * np.cos(np.pi / 6)), round(ONE * np.sin(np.pi / 6))
    path = set_display_matrix(write_video(tmp_path / 'a.mp4', num_frames=3), cos, sin, -sin, cos)
    image = reader(str(path)).get_batch([2])[0]
    assert image.shape == (80, 128, 3)
    # Clockwise by 30 degrees: the corners of the frame are black, the center stays.
    assert image[0, 0].max() < 30
    assert image[-1, -1].max() < 30
    assert np.abs(image[40, 64].astype(int) - frame_pixels(2)[40, 64]).max() < 12


INTERLACED = {
    'h264.mp4': dict(options={'x264-params': 'tff=1'}),
    'h264.ts': dict(options={'x264-params': 'bff=1'}),
    'h264.mkv': dict(options={'x264-params': 'tff=1'}, b_frames=2),
    'mpeg2.ts': dict(codec='mpeg2video', options={'flags': '+ildct+ilme'}, b_frames=2),
    'mpeg2.mkv': dict(codec='mpeg2video', options={'flags': '+ildct+ilme'}),
    'mpeg4.avi': dict(codec='mpeg4', options={'flags': '+ildct+ilme'}),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', INTERLACED)
def test_interlaced_video(tmp_path, reader, name):
    path = write_video(tmp_path / name, num_frames=20, **INTERLACED[name])
    assert shown(reader, path) == list(range(20))
    image = reader(str(path)).get_batch([7])[0]
    assert np.abs(image.astype(int) - frame_pixels(7)).mean() < 6


def test_vp8_reference_frames_are_not_shown(tmp_path):
    options = {'auto-alt-ref': '1', 'lag-in-frames': '16', 'b': '200k'}
    path = write_video(tmp_path / 'a.webm', 50, codec='libvpx', key_interval=50, options=options)
    for reader in READERS:
        assert shown(reader, path) == list(range(50))


def test_opencv_counts_frames_of_variable_rate(tmp_path):
    path = write_video(tmp_path / 'a.mkv', num_frames=30, durations=[1, 5, 2])
    assert shown(OpenCVReader, path) == list(range(30))


def test_frame_that_opencv_leaves_out_shifts_no_other(tmp_path):
    """A damaged frame: those after it keep their places, it is an error."""
    path = write_video(tmp_path / 'a.mkv', num_frames=20, key_interval=1)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][8]
    start = content.index(bytes(packet))
    content[start : start + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    assert [frame_number(image) for image in OpenCVReader(str(path)).get_batch([5, 7])] == [5, 7]
    video = OpenCVReader(str(path))
    assert frame_number(video.get_batch([12])[0]) == 12
    with pytest.raises(UnreadableVideoError, match='frame 8 of 20 is damaged or missing'):
        video.get_batch([8])


@pytest.mark.parametrize('reader', READERS)
def test_unknown_codec_is_named(tmp_path, source, reader):
    path = join_streams(tmp_path / 'a.mkv', [source])
    content = path.read_bytes()
    assert b'V_MPEG4/ISO/AVC' in content
    path.write_bytes(content.replace(b'V_MPEG4/ISO/AVC', b'V_MPEG9/ISO/XYZ'))
    with pytest.raises(UnreadableVideoError, match='its codec is unknown'):
        reader(str(path))


@pytest.mark.parametrize('reader', READERS)
def test_stream_without_frames_is_passed_over(tmp_path, source, reader):
    """The larger stream is empty: FFmpeg takes the one that has frames."""
    path = tmp_path / 'a.mkv'
    with av.open(str(source)) as video, av.open(str(path), 'w') as target:
        empty = target.add_stream('libx264', rate=25)
        empty.width, empty.height, empty.pix_fmt = 640, 480, 'yuv420p'
        copy = target.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    assert shown(reader, path) == list(range(60))
