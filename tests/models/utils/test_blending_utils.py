import numpy as np
import pytest
import torch
from torch.distributions import Beta

from mmaction.models import CutmixBlending, MixupBlending, RandomBatchAugment
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from mmaction.structures import ActionDataSample

CLIP = (3, 2, 12, 16)


def batch(labels, dtype=torch.float32):
    clips = torch.randint(0, 256, (len(labels), *CLIP), generator=torch.Generator().manual_seed(0))
    return clips.to(dtype), [ActionDataSample().set_gt_label(label) for label in labels]


def one_hot(labels, num_classes):
    return torch.tensor([[float(k == label) for k in range(num_classes)] for label in labels])


@pytest.mark.parametrize('dtype', [torch.float32, torch.uint8])
def test_mixup(dtype):
    clips, samples = batch([0, 3, 1], dtype)
    torch.manual_seed(1)
    lam, order = Beta(0.4, 0.4).sample().item(), torch.randperm(3).tolist()
    torch.manual_seed(1)
    mixed, samples = MixupBlending(4, alpha=0.4)(clips.clone(), samples)
    hot = one_hot([0, 3, 1], 4)
    for i, j in enumerate(order):
        want = lam * clips[i].double() + (1 - lam) * clips[j].double()
        assert torch.allclose(mixed[i].double(), want, atol=1e-3)
        assert torch.allclose(samples[i].gt_label, lam * hot[i] + (1 - lam) * hot[j])
    assert 0 < lam < 1
    assert order != [0, 1, 2]


def test_cutmix():
    mixer = CutmixBlending(4, alpha=1.0)
    for seed in range(20):
        clips, samples = batch([0, 3, 1])
        torch.manual_seed(seed)
        order = torch.randperm(3).tolist()
        lam = Beta(1.0, 1.0).sample().item()
        x, y = torch.randint(16, (1,)).item(), torch.randint(12, (1,)).item()
        half_w, half_h = int(16 * (1 - lam) ** 0.5) // 2, int(12 * (1 - lam) ** 0.5) // 2
        torch.manual_seed(seed)
        mixed, samples = mixer(clips.clone(), samples)
        hot = one_hot([0, 3, 1], 4)
        for i, j in enumerate(order):
            taken = 0
            for row in range(12):
                for column in range(16):
                    inside = abs(row - y + 0.5) < half_h and abs(column - x + 0.5) < half_w
                    source = clips[j if inside else i]
                    assert torch.equal(mixed[i, ..., row, column], source[..., row, column])
                    taken += inside
            share = taken / (12 * 16)
            assert torch.allclose(samples[i].gt_label, (1 - share) * hot[i] + share * hot[j])


def test_multi_hot_labels_are_blended():
    labels = [torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])]
    clips, samples = batch(labels)
    torch.manual_seed(3)
    lam, order = Beta(0.2, 0.2).sample().item(), torch.randperm(2).tolist()
    torch.manual_seed(3)
    _, samples = MixupBlending(3)(clips, samples)
    for i, j in enumerate(order):
        assert torch.allclose(samples[i].gt_label, lam * labels[i] + (1 - lam) * labels[j])


MIXUP = dict(type='MixupBlending', num_classes=4, alpha=0.2)
CUTMIX = dict(type='CutmixBlending', num_classes=4, alpha=1.0)


@pytest.mark.parametrize(
    ('probs', 'shares'),
    [(None, (0.5, 0.5, 0.0)), ([0.7, 0.3], (0.7, 0.3, 0.0)), ([0.1, 0.2], (0.1, 0.2, 0.7))],
)
def test_random_batch_augment_draws_by_probability(probs, shares):
    augment = RandomBatchAugment([MIXUP, CUTMIX], probs)
    calls = [0, 0]
    for number, inner in enumerate(augment.augments[:2]):
        original = inner.do_blending

        def counted(imgs, label, number=number, original=original):
            calls[number] += 1
            return original(imgs, label)

        inner.do_blending = counted
    untouched = 0
    for _ in range(300):
        clips, samples = batch([0, 1])
        before = list(calls)
        blended, samples = augment(clips.clone(), samples)
        assert all(sample.gt_label.shape == (4,) for sample in samples)
        if calls == before:
            untouched += 1
            assert torch.equal(blended, clips)
            assert torch.equal(torch.stack([s.gt_label for s in samples]), one_hot([0, 1], 4))
    measured = np.array([*calls, untouched]) / 300
    assert np.abs(measured - shares).max() < 0.1


def test_one_augment_with_one_probability():
    assert RandomBatchAugment(MIXUP, 0.2).probs == [0.2, 0.8]
    assert RandomBatchAugment(dict(MIXUP)).probs is None


def test_the_preprocessor_blends_in_training_only():
    preprocessor = ActionDataPreprocessor(blending=MIXUP, format_shape='NCTHW')
    clips, samples = batch([0, 3], torch.uint8)
    data = dict(inputs=[clip[None] for clip in clips], data_samples=samples)
    assert preprocessor(data)['data_samples'][0].gt_label.tolist() == [0]
    trained = preprocessor(data, training=True)
    assert trained['inputs'].shape == (2, 1, *CLIP)
    assert trained['data_samples'][0].gt_label.sum().item() == pytest.approx(1)


def test_wrong_labels():
    with pytest.raises(ValueError, match=r'labels \[0, 4\] do not all lie in 0 to 3'):
        MixupBlending(4)(*batch([0, 4]))
    with pytest.raises(ValueError, match=r'labels of \[3\] numbers do not fit num_classes=4'):
        CutmixBlending(4)(*batch([torch.ones(3), torch.ones(3)]))
    clips, samples = batch([0, 1])
    del samples[1].gt_label
    samples[1].set_metainfo(dict(filename='a.mp4'))
    with pytest.raises(ValueError, match=r"label for each clip, not so \['a.mp4'\]"):
        MixupBlending(4)(clips, samples)


@pytest.mark.parametrize(
    ('make', 'error', 'message'),
    [
        (lambda: MixupBlending(4, alpha=0), ValueError, 'alpha=0 must be positive'),
        (lambda: RandomBatchAugment('MixupBlending'), TypeError, 'config of a blending'),
        (lambda: RandomBatchAugment([]), TypeError, 'config of a blending'),
        (lambda: RandomBatchAugment([MIXUP, CUTMIX], [0.5]), ValueError, 'must be 2 numbers'),
        (lambda: RandomBatchAugment([MIXUP, CUTMIX], [0.5, 0.7]), ValueError, 'at most 1'),
        (
            lambda: RandomBatchAugment([MIXUP, dict(CUTMIX, num_classes=5)]),
            ValueError,
            r'different num_classes: \[4, 5\]',
        ),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
