"""Opening and decoding transforms: keys, backends, modes."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.fileio import BaseStorageBackend, register_backend

from mmaction.datasets import UnreadableVideoError
from mmaction.datasets.decoders import DecordReader
from mmaction.datasets.transforms import (
    DecordDecode,
    DecordInit,
    OpenCVDecode,
    OpenCVInit,
    PIMSDecode,
    PIMSInit,
    PyAVDecode,
    PyAVInit,
    TorchCodecDecode,
    TorchCodecInit,
    loading,
)
from mmaction.registry import TRANSFORMS
from tests.video_factory import frame_number, write_broken, write_video

PAIRS = [
    (DecordInit, DecordDecode),
    (PyAVInit, PyAVDecode),
    (PIMSInit, PIMSDecode),
    (OpenCVInit, OpenCVDecode),
]
BOTH = pytest.mark.parametrize(('opening', 'decoding'), PAIRS)


def opened(video, opening, **kwargs):
    return opening(**kwargs)(dict(filename=str(video)))


@BOTH
def test_keys(video, opening, decoding):
    results = opened(video, opening)
    assert (results['total_frames'], results['avg_fps']) == (60, 25.0)
    assert ('new_path' in results) == (opening is OpenCVInit)
    results['frame_inds'] = np.array([[5, 40], [40, 2]])
    results = decoding()(results)
    assert results['imgs'].shape == (4, 80, 128, 3)
    assert results['imgs'].dtype == np.uint8
    assert [frame_number(image) for image in results['imgs']] == [5, 40, 40, 2]
    assert results['original_shape'] == results['img_shape'] == (80, 128)
    assert results['frame_inds'].tolist() == [5, 40, 40, 2]
    assert results['video_reader'] is None
    assert 'decoder_fallback' not in results


@BOTH
def test_decoding_closes_the_file(video, opening, decoding):
    """At once, not with the next garbage collection: workers open thousands."""

    def is_open():
        links = (Path('/proc/self/fd') / name for name in os.listdir('/proc/self/fd'))
        return any(os.path.realpath(link) == str(video.resolve()) for link in links)

    gc.disable()
    try:
        results = opened(video, opening)
        assert is_open()
        results['frame_inds'] = np.array([5])
        decoding()(results)
        assert not is_open()
    finally:
        gc.enable()


class Shelf(BaseStorageBackend):
    """Files of a folder, by their bare name."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, filepath):
        return Path(self.folder, filepath).read_bytes()

    def get_text(self, filepath, encoding='utf-8'):
        return self.get(filepath).decode(encoding)


register_backend('shelf', Shelf, force=True)


@BOTH
def test_files_of_another_backend(video, opening, decoding):
    shelf = dict(io_backend='shelf', folder=str(video.parent))
    results = opened(video.name, opening, **shelf)
    results['frame_inds'] = np.array([7])
    assert frame_number(decoding()(results)['imgs'][0]) == 7
    if opening is OpenCVInit:
        assert not os.path.exists(results['new_path'])
    with pytest.raises(UnreadableVideoError, match='No such file'):
        opened('gone.mp4', opening, **shelf)


@BOTH
def test_name_without_extension_falls_back_to_mp4(video, opening, decoding):
    assert opened(str(video)[:-4], opening)['total_frames'] == 60


@BOTH
def test_unreadable_clips_decode_to_black_frames(opening, decoding):
    results = opening()(dict(filename='gone.mp4', blank=True))
    assert results['total_frames'] == 300
    results['frame_inds'] = np.arange(3)
    results = decoding()(results)
    assert results['imgs'].shape == (3, 256, 340, 3)
    assert not results['imgs'].any()


@BOTH
def test_broken_files(tmp_path, opening, decoding):
    with pytest.raises(UnreadableVideoError):
        opened(write_broken(tmp_path / 'clip.mp4', 'truncated'), opening)
    results = opened(write_broken(tmp_path / 'other.mp4', 'too few frames'), opening)
    results['frame_inds'] = np.arange(results['total_frames'])
    with pytest.raises(UnreadableVideoError, match='is damaged or missing'):
        decoding()(results)


@pytest.mark.parametrize(('opening', 'decoding'), PAIRS[:2])
def test_efficient_mode_returns_keyframes(video, opening, decoding):
    results = opened(video, opening)
    results['frame_inds'] = np.array([0, 11, 12, 35, 59])
    imgs = decoding(mode='efficient')(results)['imgs']
    assert [frame_number(image) for image in imgs] == [0, 0, 12, 24, 48]
    blank = opening()(dict(filename='gone.mp4', blank=True))
    blank['frame_inds'] = np.arange(2)
    assert decoding(mode='efficient')(blank)['imgs'].shape == (2, 256, 340, 3)


def test_threads(video):
    results = opened(video, DecordInit, num_threads=2)
    assert results['video_reader']._stream.codec_context.thread_count == 2
    results['frame_inds'] = np.array([9])
    assert frame_number(DecordDecode()(results)['imgs'][0]) == 9
    results = opened(video, PyAVInit)
    results['frame_inds'] = np.array([9, 30])
    context = results['video_reader']._stream.codec_context
    assert context.thread_count == 1
    imgs = PyAVDecode(multi_thread=True)(results)['imgs']
    assert context.thread_count != 1
    assert [frame_number(image) for image in imgs] == [9, 30]


def test_decord_is_an_option(video):
    pytest.importorskip('decord')
    results = opened(video, DecordInit, decoder='decord')
    assert isinstance(results['video_reader'], DecordReader)
    results['frame_inds'] = np.array([4, 30])
    imgs = DecordDecode()(results)['imgs']
    assert [frame_number(image) for image in imgs] == [4, 30]
    with pytest.raises(ValueError, match="decoder='dali' must be 'pyav' or 'decord'"):
        DecordInit(decoder='dali')


def test_torchcodec_decodes_or_names_the_extra(video):
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError):
        with pytest.raises(ImportError, match=r'needs "pip install torchcodec" and FFmpeg'):
            opened(video, TorchCodecInit)
        return
    results = opened(video, TorchCodecInit)
    results['frame_inds'] = np.array([5, 2])
    assert [frame_number(image) for image in TorchCodecDecode()(results)['imgs']] == [5, 2]


def test_wrong_mode():
    with pytest.raises(ValueError, match="'accurate' or 'efficient', found 'fast'"):
        DecordDecode(mode='fast')


def test_repr():
    assert repr(DecordInit(num_threads=2)) == 'DecordInit(io_backend=disk, num_threads=2)'
    assert repr(DecordDecode()) == 'DecordDecode(mode=accurate)'
    assert repr(PyAVDecode()) == 'PyAVDecode(multi_thread=False, mode=accurate)'
    assert repr(OpenCVInit()) == 'OpenCVInit(io_backend=disk)'


def test_transforms_import_from_mmaction2_paths():
    for name in ('SampleFrames', 'RawFrameDecode', 'ImageDecode', 'ArrayDecode', 'DecordInit'):
        assert hasattr(loading, name)


@pytest.mark.parametrize('name', ['DecordInit', 'PyAVInit', 'OpenCVInit'])
def test_mp4_is_added_only_if_there_is_no_such_file(tmp_path, name):
    """To a name without extension, as mmaction2 does to any."""
    write_video(tmp_path / 'named.mp4', num_frames=5)
    write_video(tmp_path / 'clip.mp4', num_frames=8).rename(tmp_path / 'plain')
    for stem, frames in (('named', 5), ('plain', 8)):
        opened = TRANSFORMS.build(dict(type=name))(dict(filename=str(tmp_path / stem)))
        assert opened['total_frames'] == frames
        opened['video_reader'].close()
    write_video(tmp_path / 'plain.mp4', num_frames=3)
    opened = TRANSFORMS.build(dict(type=name))(dict(filename=str(tmp_path / 'plain')))
    assert opened['total_frames'] == 8
