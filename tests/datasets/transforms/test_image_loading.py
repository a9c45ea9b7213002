"""Clips out of image files and arrays."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mmaction.datasets import UnreadableVideoError
from mmaction.datasets.transforms import (
    ArrayDecode,
    BuildPseudoClip,
    ImageDecode,
    LoadRGBFromFile,
    RawFrameDecode,
)

BACKENDS = ['cv2', 'pillow']


@pytest.fixture
def folder(tmp_path):
    """Five lossless frames of random pixels, and the pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), np.uint8)
    for index, image in enumerate(pixels, start=1):
        Image.fromarray(image).save(tmp_path / f'img_{index:05}.png')
    return tmp_path, pixels


def frames_of(folder, frame_inds, **facts):
    return dict(
        frame_dir=str(folder),
        filename_tmpl='img_{:05}.png',
        modality='RGB',
        frame_inds=np.array(frame_inds),
        **facts,
    )


@pytest.mark.parametrize('backend', BACKENDS)
def test_raw_frames(folder, backend):
    path, pixels = folder
    results = RawFrameDecode(decoding_backend=backend)(frames_of(path, [[3, 1], [3, 5]]))
    assert np.array_equal(results['imgs'], pixels[[2, 0, 2, 4]])
    assert results['original_shape'] == results['img_shape'] == (7, 9)
    moved = RawFrameDecode(decoding_backend=backend)(frames_of(path, [1, 2], offset=2))
    assert np.array_equal(moved['imgs'], pixels[[2, 3]])
    assert moved['frame_inds'].tolist() == [1, 2]


def test_a_frame_is_read_once(folder, monkeypatch):
    transform = RawFrameDecode()
    asked = []
    read = transform.source.read
    monkeypatch.setattr(transform.source, 'read', lambda path: asked.append(path) or read(path))
    transform(frames_of(folder[0], [2, 4, 2, 4, 2]))
    assert [path[-6:-4] for path in asked] == ['02', '04']


@pytest.mark.parametrize('backend', BACKENDS)
def test_frames_that_cannot_be_read(folder, backend):
    path, _ = folder
    transform = RawFrameDecode(decoding_backend=backend)
    with pytest.raises(UnreadableVideoError, match=r"img_00006.png' cannot be read: No such file"):
        transform(frames_of(path, [5, 6]))
    (path / 'img_00006.png').write_bytes(b'')
    (path / 'img_00007.png').write_bytes(b'no image at all')
    for index in (6, 7):
        with pytest.raises(UnreadableVideoError, match='it is not an image that can be decoded'):
            transform(frames_of(path, [index]))
    cv2.imwrite(str(path / 'img_00008.png'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnreadableVideoError, match=r'differ in size: \[\(4, 4\), \(7, 9\)\]'):
        transform(frames_of(path, [1, 8]))


def test_blank_frames():
    results = RawFrameDecode()(frames_of('gone', [1, 2, 3], blank=True))
    assert results['imgs'].shape == (3, 256, 340, 3)
    flow = frames_of('gone', [1, 2], blank=True) | dict(modality='Flow')
    assert RawFrameDecode()(flow)['imgs'].shape == (2, 256, 340, 2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="'RGB' or 'Flow', found 'Depth'"):
        RawFrameDecode()(frames_of('x', [1]) | dict(modality='Depth'))
    with pytest.raises(ValueError, match="'cv2' or 'pillow', found 'turbojpeg'"):
        RawFrameDecode(decoding_backend='turbojpeg')


def test_arrays():
    array = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    results = dict(array=array, frame_inds=np.array([4, 0, 4]), modality='RGB')
    decoded = ArrayDecode()(results)
    assert np.array_equal(decoded['imgs'], array[[4, 0, 4]])
    assert decoded['img_shape'] == (4, 5)
    flow = dict(array=array[..., :2], frame_inds=np.array([1, 2]), modality='Flow', offset=1)
    imgs = ArrayDecode()(flow)['imgs']
    assert imgs.shape == (4, 4, 5)
    assert np.array_equal(imgs[1], array[2, ..., 1])
    with pytest.raises(ValueError, match="found 'Depth'"):
        ArrayDecode()(results | dict(modality='Depth'))


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_image_becomes_a_clip(folder, backend):
    path, pixels = folder
    results = dict(filename=str(path / 'img_00002.png'))
    clip = ImageDecode(decoding_backend=backend)(results)
    assert np.array_equal(clip['imgs'], pixels[1:2])
    clip = BuildPseudoClip(clip_len=3)(clip)
    assert np.array_equal(clip['imgs'], pixels[[1, 1, 1]])
    assert (clip['clip_len'], clip['num_clips']) == (3, 1)
    as_list = BuildPseudoClip(clip_len=2)(dict(imgs=[pixels[0]]))
    assert isinstance(as_list['imgs'], list)
    assert len(as_list['imgs']) == 2
    with pytest.raises(ValueError, match='takes a single frame, found 2'):
        BuildPseudoClip(clip_len=2)(as_list)
    with pytest.raises(ValueError, match='clip_len must be positive'):
        BuildPseudoClip(clip_len=0)
    with pytest.raises(UnreadableVideoError, match='No such file'):
        ImageDecode(decoding_backend=backend)(dict(filename='gone.png'))
    assert ImageDecode()(dict(filename='gone.png', blank=True))['imgs'].shape == (1, 256, 340, 3)


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_image_of_a_turned_camera_is_upright(tmp_path, backend):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: its left side is the top
    Image.fromarray(image).save(tmp_path / 'a.jpg', quality=100, exif=exif)
    (upright,) = ImageDecode(decoding_backend=backend)(dict(filename=str(tmp_path / 'a.jpg')))[
        'imgs'
    ]
    assert upright.shape == (32, 16, 3)
    assert (upright[:12, :, 0] > 200).all()
    assert (upright[20:, :, 0] < 50).all()


@pytest.mark.parametrize('backend', BACKENDS)
def test_load_rgb_from_file(folder, backend):
    path, pixels = folder
    load = LoadRGBFromFile(imdecode_backend=backend)
    results = load(dict(img_path=str(path / 'img_00002.png')))
    assert np.array_equal(results['img'], pixels[1])
    assert results['img_shape'] == results['ori_shape'] == (7, 9)
    as_float = LoadRGBFromFile(to_float32=True, color_type='grayscale')
    gray = as_float(dict(img_path=str(path / 'img_00002.png')))['img']
    assert (gray.shape, gray.dtype) == ((7, 9), np.float32)
    with pytest.raises(UnreadableVideoError, match='No such file'):
        load(dict(img_path='gone.png'))
    assert LoadRGBFromFile(ignore_empty=True)(dict(img_path='gone.png')) is None
    with pytest.raises(ValueError, match="'color' or 'grayscale', found 'rgb'"):
        LoadRGBFromFile(color_type='rgb')


def test_repr():
    assert repr(RawFrameDecode()) == 'RawFrameDecode(io_backend=disk, decoding_backend=cv2)'
    assert repr(ArrayDecode()) == 'ArrayDecode()'
    assert repr(BuildPseudoClip(4)) == 'BuildPseudoClip(clip_len=4)'
