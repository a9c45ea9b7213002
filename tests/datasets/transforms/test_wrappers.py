import numpy as np
import pytest
import torch
from torchvision import transforms

from mmaction.datasets.transforms import PytorchVideoWrapper, TorchVisionWrapper


def by_frame(op, imgs, seed):
    """The op on each frame alone, from the same random state each time."""
    frames = []
    for img in imgs:
        torch.manual_seed(seed)
        frame = op(torch.from_numpy(img.transpose(2, 0, 1).copy())[None])[0]
        frames.append(frame.clamp(0, 255).to(torch.uint8).numpy().transpose(1, 2, 0))
    return np.array(frames)


@pytest.mark.parametrize(
    ('op', 'options'),
    [
        ('RandAugment', dict(num_ops=3, magnitude=9)),
        ('RandomAffine', dict(degrees=30)),
        ('RandomHorizontalFlip', dict(p=0.5)),
        ('RandomResizedCrop', dict(size=12, antialias=True)),
        ('RandomErasing', dict(p=1.0)),
    ],
)
def test_operation_is_identical_for_all_frames(make_clip, check_form, op, options):
    transform = TorchVisionWrapper(op, **options)
    outcomes = set()
    for seed in range(8):
        results = make_clip()
        before = np.array(results['imgs'])
        want = by_frame(getattr(transforms, op)(**options), before, seed)
        torch.manual_seed(seed)
        results = transform(results)
        check_form(results['imgs'])
        assert np.array_equal(np.array(results['imgs']), want)
        assert results['img_shape'] == want.shape[1:3]
        outcomes.add(want.tobytes())
    assert len(outcomes) > 1


def test_frames_may_change_size_and_channels(make_clip):
    assert TorchVisionWrapper('CenterCrop', size=(10, 12))(make_clip())['img_shape'] == (10, 12)
    assert TorchVisionWrapper('Grayscale')(make_clip())['imgs'][0].shape == (30, 40, 1)


def test_results_are_clipped_and_truncated(make_clip):
    results = make_clip(1)
    before = np.array(results['imgs'], float)
    got = TorchVisionWrapper('Normalize', mean=(100, 100, 100), std=(0.5, 0.5, 0.5))
    with pytest.raises(TypeError, match='float'):  # torchvision itself wants floats here
        got(results)
    results = make_clip(1)
    convert = TorchVisionWrapper('Lambda', lambd=lambda clip: clip.float() * 3.3 - 100)
    want = np.clip(before * 3.3 - 100, 0, 255).astype(np.uint8)
    assert np.abs(np.array(convert(results)['imgs']) - want.astype(int)).max() <= 1


def test_interpolation_by_name():
    op = TorchVisionWrapper('RandAugment', interpolation='bilinear')
    assert op.trans.interpolation == transforms.InterpolationMode.BILINEAR


def test_wrong_ops(make_clip):
    with pytest.raises(ValueError, match=r"no 'RandAugmet'; did you mean .RandAugment"):
        TorchVisionWrapper('RandAugmet')
    with pytest.raises(ValueError, match=r'has no .Qqqqqq.$'):
        TorchVisionWrapper('Qqqqqq')
    with pytest.raises(TypeError, match=r'FiveCrop made tuple of .* a\.mp4'):
        TorchVisionWrapper('FiveCrop', size=8)(make_clip(filename='a.mp4'))
    with pytest.raises(TypeError, match=r'Lambda made \(2, 3, 30, 40\) of the \(4, 3, 30, 40\)'):
        TorchVisionWrapper('Lambda', lambd=lambda clip: clip[::2])(make_clip())


@pytest.mark.parametrize('imgs', [None, np.zeros((1, 3, 4, 30, 40), np.uint8)])
def test_place_in_the_pipeline(imgs):
    results = {} if imgs is None else dict(imgs=imgs)
    for kind in (TorchVisionWrapper, PytorchVideoWrapper):
        with pytest.raises(ValueError, match=f'place {kind.__name__} after decoding and before Fo'):
            kind('RandAugment')(results)


def test_repr():
    assert repr(TorchVisionWrapper('RandAugment')) == 'TorchVisionWrapper(op=RandAugment)'


def test_pytorchvideo_rand_augment_keeps_form_and_size(make_clip, check_form):
    transform = PytorchVideoWrapper('RandAugment', magnitude=7, num_layers=4)
    before = np.array(make_clip()['imgs'])
    outcomes = set()
    for seed in range(6):
        torch.manual_seed(seed)
        results = transform(make_clip())
        check_form(results['imgs'])
        assert results['img_shape'] == (30, 40)
        outcomes.add(np.array(results['imgs']).tobytes())
    assert len(outcomes) > 2
    assert before.tobytes() == np.array(make_clip()['imgs']).tobytes()


def test_pytorchvideo_short_side_scale(make_clip, check_form):
    results = PytorchVideoWrapper('ShortSideScale', size=13)(make_clip())
    check_form(results['imgs'])
    assert results['img_shape'] == (13, 17)  # 40 * 13 / 30, rounded down
    flat = dict(imgs=np.full((2, 30, 40, 3), 77, np.uint8))
    scaled = PytorchVideoWrapper('RandomShortSideScale', min_size=10, max_size=12)
    sizes = set()
    for _ in range(12):
        results = scaled(dict(flat))
        sizes.add(results['img_shape'][0])
        assert set(np.unique(results['imgs'])) <= {76, 77}
    assert sizes == {10, 11, 12}


def test_pytorchvideo_random_resized_crop(make_clip):
    crop = PytorchVideoWrapper(
        'RandomResizedCrop',
        target_height=8,
        target_width=10,
        scale=(0.5, 1.0),
        aspect_ratio=(0.8, 1.25),
    )
    assert crop(make_clip())['img_shape'] == (8, 10)


def test_pytorchvideo_wrong_operation():
    with pytest.raises(ValueError, match=r"op='MixUp' of PytorchVideoWrapper is none of \['Rand"):
        PytorchVideoWrapper('MixUp')
    with pytest.raises(TypeError, match='layers'):
        PytorchVideoWrapper('RandAugment', layers=2)
