import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmaction.datasets.transforms import Flip, FormatShape, PackActionInputs, Transpose
from mmaction.datasets.transforms.formatting import to_tensor
from mmaction.structures import ActionDataSample


def nc_thw(frames, clip_len):
    """Element by element: view v, frame t is frame v * clip_len + t."""
    views = len(frames) // clip_len
    h, w, c = frames[0].shape
    out = np.empty((views, c, clip_len, h, w), frames[0].dtype)
    for view in range(views):
        for t in range(clip_len):
            for channel in range(c):
                out[view, channel, t] = frames[view * clip_len + t][:, :, channel]
    return out


@settings(max_examples=60, deadline=None)
@given(
    crops=st.sampled_from([1, 3]),
    clips=st.integers(1, 3),
    clip_len=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from([np.uint8, np.float32]),
    way=st.sampled_from(['plain', 'crop', 'horizontal', 'vertical', 'both', 'list']),
)
def test_nc_thw_of_any_view(crops, clips, clip_len, height, width, channels, dtype, way):
    shape = (crops * clips * clip_len, height + 3, width + 5, channels)
    imgs = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    if way != 'plain':
        imgs = imgs[:, 1 : 1 + height, 2 : 2 + width]
    if way in ('horizontal', 'both'):
        imgs = imgs[:, :, ::-1]
    if way in ('vertical', 'both'):
        imgs = imgs[:, ::-1]
    want = nc_thw(imgs, clip_len)
    results = dict(imgs=list(imgs) if way == 'list' else imgs, num_clips=clips, clip_len=clip_len)
    results = FormatShape('NCTHW')(results)
    assert np.array_equal(results['imgs'], want)
    assert results['imgs'].dtype == dtype
    assert results['imgs'].flags.c_contiguous
    assert results['input_shape'] == want.shape


def test_formatting_does_not_modify_its_input(make_clip):
    results = Flip(1.0)(make_clip(num_clips=1, clip_len=4))
    source = results['imgs']
    before = np.array(source)
    formatted = FormatShape('NCTHW')(results)['imgs']
    formatted[:] = 0
    assert np.array_equal(np.array(source), before)


def test_nchw(make_clip):
    results = make_clip(6, 5, 7, num_clips=2, clip_len=3)
    imgs = np.array(results['imgs'])
    results = FormatShape('NCHW')(results)
    assert results['imgs'].shape == results['input_shape'] == (6, 3, 5, 7)
    for frame in range(6):
        for channel in range(3):
            assert np.array_equal(results['imgs'][frame, channel], imgs[frame, :, :, channel])


def test_nchw_stacks_flow(make_clip):
    results = make_clip(6, 5, 7, 2, num_clips=2, clip_len=3)
    imgs = np.array(results['imgs'])
    results = FormatShape('NCHW')(dict(results, modality='Flow'))
    assert results['input_shape'] == (2, 6, 5, 7)
    for clip in range(2):
        for t in range(3):
            for channel in range(2):
                got = results['imgs'][clip, 2 * t + channel]
                assert np.array_equal(got, imgs[3 * clip + t, :, :, channel])


def test_nptchw(make_clip):
    results = make_clip(12, 5, 7, num_clips=2, clip_len=3, num_proposals=2)
    imgs = np.array(results['imgs'])
    results = FormatShape('NPTCHW')(results)
    assert results['input_shape'] == (2, 6, 3, 5, 7)
    for proposal in range(2):
        for frame in range(6):
            for channel in range(3):
                got = results['imgs'][proposal, frame, channel]
                assert np.array_equal(got, imgs[6 * proposal + frame, :, :, channel])


def test_gray_frames_get_a_channel(make_clip):
    results = make_clip(4, 5, 7, None, num_clips=1, clip_len=4)
    imgs = np.array(results['imgs'])
    results = FormatShape('NCTHW')(results)
    assert results['input_shape'] == (1, 1, 4, 5, 7)
    assert np.array_equal(results['imgs'][0, 0], imgs)


def test_collapse(make_clip):
    results = FormatShape('NCTHW', collapse=True)(make_clip(4, num_clips=1, clip_len=4))
    assert results['imgs'].shape == results['input_shape'] == (3, 4, 30, 40)
    with pytest.raises(ValueError, match=r'collapse=True needs one view, but a\.mp4 has 2'):
        FormatShape('NCTHW', collapse=True)(make_clip(4, num_clips=2, clip_len=2, filename='a.mp4'))


def test_wrong_shapes(make_clip):
    with pytest.raises(ValueError, match="input_format='NTCHW' must be one of"):
        FormatShape('NTCHW')
    with pytest.raises(ValueError, match=r'a\.mp4 has 5 frames, .* multiple of the 4 '):
        FormatShape('NCTHW')(make_clip(5, num_clips=1, clip_len=4, filename='a.mp4'))


@pytest.mark.parametrize('input_format', ['NCHW', 'NCTHW'])
def test_frames_of_several_sizes(input_format):
    imgs = [np.zeros((5, 6, 3), np.uint8), np.zeros((5, 7, 3), np.uint8)]
    results = dict(imgs=imgs, num_clips=1, clip_len=2, filename='a.mp4')
    with pytest.raises(ValueError, match=r'frames of a\.mp4 differ in shape: \[\(5, 6, 3\), '):
        FormatShape(input_format)(results)


def test_transpose():
    array = np.arange(24).reshape(2, 3, 4)
    results = Transpose(['a'], (2, 0, 1))(dict(a=array, b=array))
    assert results['a'].shape == (4, 2, 3)
    assert results['a'][3, 1, 2] == array[1, 2, 3]
    assert results['b'] is array


def test_pack(make_clip):
    results = make_clip(4, num_clips=1, clip_len=4, label=5, filename='a.mp4', sample_idx=7)
    results['img_shape'] = (30, 40)
    results['quality'] = torch.ones(2)
    results = FormatShape('NCTHW')(results)
    packed = PackActionInputs(algorithm_keys=('quality', 'absent'))(results)
    assert set(packed) == {'inputs', 'data_samples'}
    assert packed['inputs'].dtype == torch.uint8
    assert np.array_equal(packed['inputs'].numpy(), results['imgs'])
    assert packed['inputs'].data_ptr() == results['imgs'].ctypes.data
    sample = packed['data_samples']
    assert isinstance(sample, ActionDataSample)
    assert sample.gt_label.tolist() == [5]
    assert sample.metainfo == dict(img_shape=(30, 40), filename='a.mp4', sample_idx=7)
    assert sample.quality.tolist() == [1, 1]
    assert 'absent' not in sample


def test_pack_without_a_label_or_with_soft_ones():
    assert 'gt_label' not in PackActionInputs()(dict(imgs=np.zeros(3)))['data_samples']
    soft = torch.tensor([0.25, 0.75])
    packed = PackActionInputs()(dict(imgs=np.zeros(3), label=soft))
    assert torch.equal(packed['data_samples'].gt_label, soft)


def test_pack_collects():
    results = dict(imgs=np.zeros(3), audios=np.ones(2))
    packed = PackActionInputs(collect_keys=('imgs', 'audios'), meta_keys=())(results)
    assert {key: len(value) for key, value in packed['inputs'].items()} == dict(imgs=3, audios=2)
    assert PackActionInputs()(dict(audios=np.ones(2)))['inputs'].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"none of \['flow'\].*'audios'"):
        PackActionInputs(collect_keys=('imgs', 'flow'))(results)
    with pytest.raises(ValueError, match=r"none of \['imgs', .*\['label'\]"):
        PackActionInputs()(dict(label=3))


def test_to_tensor():
    assert to_tensor(np.arange(3)[::-1]).tolist() == [2, 1, 0]
    assert to_tensor([1, 2]).tolist() == [1, 2]
    assert to_tensor(2.5).item() == 2.5
    tensor = torch.ones(1)
    assert to_tensor(tensor) is tensor
    with pytest.raises(TypeError, match='a str cannot become a tensor'):
        to_tensor('text')


def test_repr():
    assert repr(FormatShape('NCTHW')) == "FormatShape(input_format='NCTHW')"
    assert repr(Transpose(['a'], (1, 0))) == "Transpose(keys=['a'], order=(1, 0))"
    assert repr(PackActionInputs(meta_keys=('a',))) == (
        "PackActionInputs(collect_keys=None, meta_keys=('a',))"
    )
